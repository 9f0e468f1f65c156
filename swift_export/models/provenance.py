"""The origin of a model's weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["SYNTHETIC_WARNING", "Provenance"]

SYNTHETIC_WARNING = "synthetic weights: the features mean nothing"


@dataclass(frozen=True)
class Provenance:
    """The origin of weights, and the changes made on loading.

    Attributes:
        kind: ``checkpoint``, ``bundle``, ``hub``, ``published`` or ``synthetic`` for SwiFT; ``python`` for a model made
            by a program or a Python file.
        name: the file's name without folders, the hub id, ``synthetic:SEED``, or the name of a Python object.
        sha256: SHA-256 of the file with the tensors.
        git_blob: git blob id of that file, for checkpoints.
        seed: the seed of synthetic weights, also when they come from a bundle.
        assumed: hyper-parameters missing from the file, with the values used instead.
        dropped: names of the dropped tensors, such as heads and training state.
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
        """Whether the weights are random and untrained: their features mean nothing."""
        return self.seed is not None

    def keeping(self, names: Collection[str]) -> Provenance:
        """The same, if these tensors are kept."""
        return replace(self, dropped=tuple(name for name in self.dropped if name not in names))

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
