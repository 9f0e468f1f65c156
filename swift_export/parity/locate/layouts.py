"""Values inside an artifact whose axes lie in another order than in the reference: converters move transposes about."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from swift_export.parity.measure.compare import compare

__all__ = ["as_laid_out"]

#: A value nearer than this lies as it should; nothing is gained from trying other orders.
_NEAR = 1e-3


def as_laid_out(found: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """``found`` with its axes in the order that brings it nearest to ``expected``; None where the shape is another."""
    nearest, least = None, float("inf")
    if found.ndim != expected.ndim:
        return None
    for order in permutations(range(found.ndim)):
        turned = found.transpose(order)
        if turned.shape != expected.shape:
            continue
        error = compare(turned, expected).relative_l2
        if nearest is None or error < least:
            nearest, least = turned, error
        if least < _NEAR:
            break
    return nearest
