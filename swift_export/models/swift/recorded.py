"""The input contract of a SwiFT in an artifact."""

from __future__ import annotations

from swift_export.models.recovery import Recorded
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights import Weights
from swift_export.scans.contract import InputContract, contract_of

__all__ = ["contract_of_record"]


def contract_of_record(recorded: Recorded, weights: Weights | None) -> InputContract:
    """The contract stated by the artifact; without a placement, that of the weights or of the variant."""
    stated = recorded.input
    if stated is not None and stated.placement is not None:
        return stated
    if weights is not None:
        return weights.contract
    variant = VARIANTS.get(recorded.variant)
    default, because = (None, "") if variant is None else (variant.placement, variant.placed_because)
    return contract_of(None, 1 if stated is None else stated.stride, default, because)
