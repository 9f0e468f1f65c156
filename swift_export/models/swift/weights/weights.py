"""What loading weights gives: the tensors of one backbone, its architecture and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.variants import VARIANTS
from swift_export.scans.contract import InputContract, contract_of

__all__ = ["KINDS", "Provenance", "Training", "Weights"]

#: Where weights can come from. ``published`` is a checkpoint whose git blob id is that of a published model.
KINDS = ("checkpoint", "bundle", "hub", "published", "synthetic")


@dataclass(frozen=True)
class Provenance:
    """Where weights came from and what was done to them on the way.

    Attributes:
        kind: one of ``KINDS``.
        name: the file's name without folders, the hub id, or ``synthetic:SEED``.
        sha256: SHA-256 of the file that holds the tensors.
        git_blob: git blob id of that file, for checkpoints.
        seed: the seed of synthetic weights, also when they come from a bundle.
        assumed: hyper-parameters that the file lacked, with the variant's values that were taken instead.
        dropped: names of the tensors (heads, training plumbing) that were left out.
        notes: further facts a reader of a manifest should know, one sentence each.

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


@dataclass(frozen=True)
class Training:
    """What a checkpoint's hyper-parameters say of the clips it was trained on.

    Attributes:
        dataset: ``dataset_name``: S1200, UKB or ABCD in the authors' code.
        stride: ``stride_within_seq``, frames of the run between two frames of a clip.

    """

    dataset: str | None = None
    stride: int = 1


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of one backbone.

    Attributes:
        config: the architecture.
        tensors: float32, C-contiguous, read-only; exactly the names and shapes of ``parameter_shapes(config)``, sorted.
        extras: ``model.norm.*`` where the file has it: kept for round trips, never applied.
        variant: the published model's name, or ``custom``.
        provenance: where they came from.
        training: what they were trained on, as far as the file says.
        stated: the input contract that the user gives them, in place of the one that follows from ``training``.

    """

    config: SwiFTConfig
    tensors: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray]
    variant: str
    provenance: Provenance
    training: Training = field(default_factory=Training)
    stated: InputContract | None = None

    @property
    def contract(self) -> InputContract:
        """How scans become the input of the model."""
        if self.stated is not None:
            return self.stated
        variant = VARIANTS.get(self.variant)
        default, because = (None, "") if variant is None else (variant.placement, variant.placed_because)
        return contract_of(self.training.dataset, self.training.stride, default, because)

    def with_contract(self, contract: InputContract) -> Weights:
        """The same weights under another input contract."""
        return replace(self, stated=contract)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``tensors``: for each name in sorted order, name, shape and little-endian float32 bytes.

        Equal for a checkpoint and a bundle made from it; it depends on no file format.
        """
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            digest.update(f"{name} {','.join(map(str, tensor.shape))}\n".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()
