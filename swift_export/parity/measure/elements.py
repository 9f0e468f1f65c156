"""Random arrays of any element type."""

from __future__ import annotations

import numpy as np

__all__ = ["draw"]


def draw(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Random elements: standard normal floats; integers of which half are small and not negative, like indices.

    The other half ranges from -100 to 100, or from 0 to 200, within the type's range.
    """
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (-100, 100) if dtype.kind == "i" else (0, 200)
        wide = rng.integers(max(low, limits.min), min(high, limits.max), shape, endpoint=True)
        return np.where(rng.integers(0, 2, shape) > 0, wide, rng.integers(0, 8, shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
