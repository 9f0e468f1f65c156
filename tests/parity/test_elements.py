"""Random arrays of every type, and when two of them are the same."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from swift_export.parity.measure.elements import allowed_for, distance, draw
from swift_export.parity.measure.tolerances import Tolerance

DTYPES = [
    *(np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")),
    *(np.dtype(name) for name in ("float16", "float32", "float64", ml_dtypes.bfloat16)),
]
STRICT = Tolerance(1e-5, 1e-5, "")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_drawn_of_every_type_and_the_same_for_a_seed(dtype: np.dtype) -> None:
    drawn = draw(np.random.default_rng(3), dtype, (50, 40))
    assert (drawn.dtype, drawn.shape) == (dtype, (50, 40))
    assert len(np.unique(drawn.astype(np.float64))) >= (2 if dtype.kind == "b" else 100)
    np.testing.assert_array_equal(drawn, draw(np.random.default_rng(3), dtype, (50, 40)))
    assert draw(np.random.default_rng(3), dtype, ()).shape == ()
    if dtype.kind in "iu":
        assert ((drawn >= 0) & (drawn < 8)).mean() > 0.4
        assert (drawn < 0).any() == (dtype.kind == "i")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_array_is_itself_and_not_another(dtype: np.dtype) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    other = array.copy()
    other[1, 2] = 0
    assert distance(array, array, STRICT).passed
    found = distance(other, array, STRICT)
    assert not found.passed
    if dtype.kind in "iub":
        assert found.words.startswith("1 of 6 elements differ, first (1, 2): expected")
    assert not distance(array[:1], array, STRICT).passed
    assert distance(array[:0], array[:0], STRICT).passed


def test_integers_are_exact() -> None:
    right = np.array([2**53 + 1, -(2**63)], np.int64)
    assert not distance(np.array([2**53, -(2**63)], np.int64), right, STRICT).passed


def test_floats_are_measured() -> None:
    right = np.linspace(1, 2, 100, dtype=np.float32)
    assert distance(right * np.float32(1 + 5e-6), right, STRICT).passed
    found = distance(right * np.float32(1 + 5e-5), right, STRICT)
    assert not found.passed
    assert found.words == "relative L2 5e-05, largest 5e-05 (allowed 1e-05 and 1e-05)"


def test_what_is_not_finite_has_its_place() -> None:
    right = np.array([1, np.nan, np.inf, -np.inf, 0], np.float32)
    assert distance(right.copy(), right, STRICT).passed
    for place, value in ((0, np.nan), (1, 1), (1, np.inf), (2, np.nan), (2, -np.inf), (3, -1e38), (4, np.inf)):
        other = right.copy()
        other[place] = value
        found = distance(other, right, STRICT)
        assert not found.passed
        assert f"first ({place})" in found.words


def test_the_largest_float64_numbers_are_compared_too() -> None:
    right = np.array([1e308, -1e300, 5e-320])
    assert distance(right.copy(), right, allowed_for(frozenset())).passed
    assert not distance(right * (1 + 1e-9), right, allowed_for(frozenset({"float64"}))).passed


def test_the_coarsest_type_decides_what_is_allowed() -> None:
    limits = [
        allowed_for(frozenset(floats)).relative_l2
        for floats in ({"float64"}, {"float64", "float32"}, {"float16", "float32"}, {"bfloat16", "float16"})
    ]
    assert limits == sorted(limits)
    assert limits[0] < 1e-9 < limits[1] == 1e-5 < limits[2] < limits[3]
