"""Where a model's weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SYNTHETIC_WARNING", "Provenance"]

SYNTHETIC_WARNING = "synthetic weights: the features mean nothing"


@dataclass(frozen=True)
class Provenance:
    """Where weights came from and how they were changed on the way.

    Attributes:
        kind: ``checkpoint``, ``bundle``, ``hub``, ``published`` or ``synthetic`` for SwiFT; ``python`` for a model that
            a program or a file of Python code made.
        name: the file's name without folders, the hub id, ``synthetic:SEED``, or the name of a Python object.
        sha256: SHA-256 of the file that holds the tensors.
        git_blob: git blob id of that file, for checkpoints.
        seed: the seed of synthetic weights, also when they come from a bundle.
        assumed: hyper-parameters that the file lacked, with the values that were taken instead.
        dropped: names of the tensors (heads, training plumbing) that were left out.
        notes: further facts for readers of a manifest, one sentence each.

    """

    kind: str
    name: str
    sha256: str | None = None
    git_blob: str | None = None
    seed: int | None = None
    assumed: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether the weights were drawn, not trained: features computed from them mean nothing."""
        return self.seed is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        assumed = {name: list(v) if isinstance(v, tuple) else v for name, v in self.assumed.items()}
        return {
            "kind": self.kind,
            "name": self.name,
            "sha256": self.sha256,
            "git_blob": self.git_blob,
            "synthetic": self.synthetic,
            "seed": self.seed,
            "assumed": assumed,
            "dropped": list(self.dropped),
            "notes": list(self.notes),
        }
