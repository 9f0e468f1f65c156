"""Loaded weights: the tensors of one backbone, its architecture and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from swift_export.errors import WeightsError
from swift_export.models.model import weights_digest
from swift_export.models.provenance import Provenance
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.head import Head
from swift_export.models.swift.variants import VARIANTS
from swift_export.scans.contract import InputContract, contract_of

__all__ = ["KINDS", "Provenance", "Training", "Weights"]

#: Sources of weights. ``published`` is a checkpoint with the git blob id of a published model.
KINDS = ("checkpoint", "bundle", "hub", "published", "synthetic")


@dataclass(frozen=True)
class Training:
    """The properties of the training clips, from the hyper-parameters of a checkpoint.

    Attributes:
        dataset: ``dataset_name``: S1200, UKB or ABCD in the authors' code.
        stride: ``stride_within_seq``, the distance in the run between two frames of a clip.

    """

    dataset: str | None = None
    stride: int = 1


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of one backbone.

    Attributes:
        config: the architecture.
        tensors: float32, C-contiguous, read-only; exactly the names and shapes of ``parameter_shapes(config)``, sorted.
        extras: ``model.norm.*``, if present in the file; kept for round trips, never applied.
        variant: the name of the published model, or ``custom``.
        provenance: the source of the weights.
        training: the training data, as far as the file states them.
        stated: an input contract from the user, which replaces the one derived from ``training``.
        find_head: reads the head of the file on request; raises WeightsError without one. None for synthetic weights.
        probe: a probe from the user, which replaces the head of the file.

    """

    config: SwiFTConfig
    tensors: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray]
    variant: str
    provenance: Provenance
    training: Training = field(default_factory=Training)
    stated: InputContract | None = None
    find_head: Callable[[], Head] | None = None
    probe: Head | None = None

    @property
    def contract(self) -> InputContract:
        """The preparation of scans for the model."""
        if self.stated is not None:
            return self.stated
        variant = VARIANTS.get(self.variant)
        default, because = (None, "") if variant is None else (variant.placement, variant.placed_because)
        return contract_of(self.training.dataset, self.training.stride, default, because)

    def with_contract(self, contract: InputContract) -> Weights:
        """The same weights with another input contract."""
        return replace(self, stated=contract)

    def head(self) -> Head:
        """The probe, or else the head of the file; raises WeightsError if there is none, or if it cannot be used."""
        if self.probe is not None:
            return self.probe
        if self.find_head is None:
            raise WeightsError(
                f"{self.provenance.name}: expected weights with a head, found none; export features or embedding, or "
                "give a probe with --head"
            )
        return self.find_head()

    def with_head_tensors(self, head: Head | None) -> Mapping[str, np.ndarray]:
        """The tensors, with those of ``head``."""
        return self.tensors if head is None else {**self.tensors, **head.tensors}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``tensors``: equal for a checkpoint and a bundle made from it."""
        return weights_digest(self.tensors)
