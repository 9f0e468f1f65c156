"""Arrays as ``.npy`` files, with element types that NumPy's format lacks: bfloat16 and the others of ml_dtypes.

Such an array is written as records of one unsigned integer, whose field has the element type's name. Nothing is
pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = [
    "as_complex",
    "as_pairs",
    "dtype_of",
    "is_float",
    "is_integer",
    "is_native",
    "little_endian",
    "load_array",
    "native_view",
    "save_array",
    "with_own_type",
]


def dtype_of(name: str) -> np.dtype:
    """The element type of this name, from NumPy or ml_dtypes; raises TypeError for any other."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        if not hasattr(ml_dtypes, name):
            raise
        found: np.dtype = np.dtype(getattr(ml_dtypes, name))
        return found


def is_native(dtype: np.dtype) -> bool:
    """Whether the type is NumPy's own; those of ml_dtypes are user types."""
    return dtype.isbuiltin != 2


def is_float(dtype: np.dtype) -> bool:
    """Whether elements are floating-point numbers, those of ml_dtypes included; complex ones are not."""
    return dtype.kind == "f" or (not is_native(dtype) and "float" in dtype.name)


def is_integer(dtype: np.dtype) -> bool:
    """Whether elements are integers, those of ml_dtypes included; booleans are not."""
    return dtype.kind in "iu" or (not is_native(dtype) and "int" in dtype.name)


def as_pairs(array: np.ndarray) -> np.ndarray:
    """A complex array as a real one with a last axis of 2; any other array unchanged."""
    if not np.iscomplexobj(array):
        return array
    return np.stack([array.real, array.imag], axis=-1)


def as_complex(arrays: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays, with those of pairs that ``names`` lists as complex ones of the type that it gives."""
    out = dict(arrays)
    for name, kind in names.items():
        pairs = arrays[name]
        out[name] = np.empty(pairs.shape[:-1], kind)
        out[name].real, out[name].imag = pairs[..., 0], pairs[..., 1]
    return out


def native_view(array: np.ndarray) -> np.ndarray:
    """The array, or its bits as unsigned integers if its type is not NumPy's own."""
    return array if is_native(array.dtype) else array.view(f"u{array.dtype.itemsize}")


def little_endian(array: np.ndarray) -> np.ndarray:
    """The array in C order with the least significant byte first, the form for digests."""
    order = array.dtype.newbyteorder("<") if array.dtype.kind in "iufc" else array.dtype
    return np.ascontiguousarray(array, order)


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array of numbers; raises ValueError for Python objects."""
    array = np.asarray(array)
    if not is_native(array.dtype):
        array = array.view([(array.dtype.name, f"u{array.dtype.itemsize}")])
    np.save(path, array, allow_pickle=False)


def load_array(path: str | Path) -> np.ndarray:
    """Map an array that `save_array` wrote into memory, read only."""
    return with_own_type(np.load(path, mmap_mode="r"))


def with_own_type(array: np.ndarray) -> np.ndarray:
    """An array from a file of `save_array` with the element type that it was saved with.

    Raises TypeError or ValueError for records that `save_array` does not write.
    """
    names = array.dtype.names
    return array.view(dtype_of(names[0])) if names else array
