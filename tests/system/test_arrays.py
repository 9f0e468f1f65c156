"""Arrays on disk: every element type comes back as it was, and no Python object does."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from swift_export.system.arrays import dtype_of, load_array, native_view, save_array

NAMES = ("bool", "int8", "uint64", "float16", "float32", "float64", "complex64")
FOREIGN = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4")


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3)])
@pytest.mark.parametrize("name", [*NAMES, *FOREIGN])
def test_an_array_comes_back_as_it_was(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype_of(name))
    save_array(tmp_path / "array.npy", array)

    found = load_array(tmp_path / "array.npy")

    assert (found.dtype, found.shape) == (array.dtype, shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable


def test_no_object_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_array(tmp_path / "array.npy", np.array(["text"], object))


def test_bits_are_those_of_the_numbers() -> None:
    assert native_view(np.ones(1, ml_dtypes.bfloat16)).tolist() == [0x3F80]
    assert native_view(np.ones(1, np.float32)).dtype == np.float32


def test_a_type_that_there_is_not_is_an_error() -> None:
    with pytest.raises(TypeError):
        dtype_of("float31")
