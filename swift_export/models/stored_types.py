"""Weights in the element types in which files store them."""

from __future__ import annotations

import numpy as np

from swift_export.errors import UsageError
from swift_export.system.arrays import dtype_of

__all__ = ["in_type"]

LARGEST = {"float16": "65504", "bfloat16": "3.39e38"}


def in_type(name: str, array: np.ndarray, dtype: str | None) -> np.ndarray:
    """The tensor ``name`` in a floating-point type; raises UsageError if one of its numbers is out of range there."""
    if dtype is None or array.dtype.name == dtype:
        return array
    with np.errstate(over="ignore"):
        found = array.astype(dtype_of(dtype))
    lost = np.isfinite(array) & ~np.isfinite(found.astype(np.float32))
    if lost.any():
        place = np.unravel_index(int(np.abs(np.where(lost, array, 0)).argmax()), array.shape)
        raise UsageError(
            f"{name}: expected numbers up to {LARGEST[dtype]}, the largest of {dtype}, found {array[place]:g} at "
            f"{[int(i) for i in place]}; choose another --precision"
        )
    return found
