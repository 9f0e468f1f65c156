"""Aligns an artifact's intermediate values with the reference: converters move transposes, which reorders axes, and
merge axes for products.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from swift_export.parity.measure.compare import compare

__all__ = ["as_laid_out"]

#: A smaller difference means the right order of axes; others need not be tried.
_NEAR = 1e-3


def as_laid_out(found: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """``found`` with its axes in the order nearest to ``expected``, or with axes that are merged apart again; None if
    it has another shape.
    """
    nearest, least = None, float("inf")
    if found.ndim < expected.ndim and found.size == expected.size:
        merged = set(np.cumprod(found.shape)) <= set(np.cumprod(expected.shape))
        return found.reshape(expected.shape) if merged else None
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
