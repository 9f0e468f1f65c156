"""Roundings of element types, and arrays in the type in which errors are measured."""

from __future__ import annotations

import numpy as np

__all__ = ["EPSILONS", "wide"]

#: Twice the relative error of one rounding.
EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
EPSILONS |= {"complex64": EPSILONS["float32"], "complex128": EPSILONS["float64"]}


def wide(array: np.ndarray) -> np.ndarray:
    """Floats and complex numbers with 64 bits in each part."""
    return array.astype(np.result_type(array, np.float64))
