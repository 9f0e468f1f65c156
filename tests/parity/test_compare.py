"""The two measures of floats and the equality of everything else, on arrays whose differences are known."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from swift_export.errors import UsageError
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import TOLERANCES, WIDEST, Tolerance, allowed_for, tolerance, widened

STRICT = Tolerance(1e-5, 1e-5, "for tests")
LOOSEST = Tolerance(math.inf, math.inf, "for tests")
EXACT = [np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")]
FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)]


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_both_measures_are_relative_to_the_reference():
    difference = compare(f32(3, 4, 12.5), f32(3, 4, 12))

    assert difference.relative_l2 == pytest.approx(0.5 / 13)
    assert difference.relative_max == pytest.approx(0.5 / 12)
    assert difference.non_finite == 0


def test_a_sum_is_measured_by_its_terms_where_they_are_larger():
    found, reference = f32(0.5, 1), f32(0, 1)

    assert compare(found, reference, terms=f32(3, 4)).relative_l2 == pytest.approx(0.5 / 5)
    assert compare(found, reference, terms=f32(3, 4)).relative_max == pytest.approx(0.5 / 4)
    assert compare(found, reference, terms=f32(0, 0.1)) == compare(found, reference)


def test_equal_arrays_do_not_differ():
    assert compare(f32(1, -2), f32(1, -2)).within(Tolerance(0, 0, "for tests"))


def test_each_measure_can_fail_alone():
    # One wrong value among a million weighs little in L2; many small errors weigh little in the largest.
    reference = np.ones(1_000_000, np.float32)
    single = reference.copy()
    single[0] += 1e-3
    many = f32(1e3, *[1.0] * 100)

    lonely = compare(single, reference)
    assert lonely.relative_l2 < 1e-5 < lonely.relative_max
    assert not lonely.within(STRICT)
    spread = compare(many + f32(0, *[5e-3] * 100), many)
    assert spread.relative_max < 1e-5 < spread.relative_l2
    assert not spread.within(STRICT)


def test_sums_are_taken_in_float64_over_every_chunk():
    # Squares of 1e-30 vanish in float32; the difference lies behind the first chunk of 2**20.
    reference = np.full(2**20 + 3, 1e-30, np.float32)
    found = reference.copy()
    found[-1] = 2e-30

    difference = compare(found, reference)

    assert difference.relative_l2 == pytest.approx(1 / math.sqrt(2**20 + 3))
    assert difference.relative_max == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_always_fails(value):
    difference = compare(f32(1, value, 1), f32(1, 1, 1))

    assert difference.non_finite == 1
    assert not difference.within(Tolerance(math.inf, math.inf, "for tests"))
    assert str(difference) == "1 values not finite"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (f32(1, 1), "expected float32 (3,), found float32 (2,)"),
        (f32(1, 1, 1)[None], "expected float32 (3,), found float32 (1, 3)"),
        (np.ones(3), "expected float32 (3,), found float64 (3,)"),
    ],
)
def test_another_shape_or_dtype_always_fails(found, message):
    difference = compare(found, f32(1, 1, 1))

    assert not difference.within(Tolerance(math.inf, math.inf, "for tests"))
    assert str(difference) == message


def test_a_reference_of_zeros_is_met_by_zeros_only():
    assert compare(f32(0, 0), f32(0, 0)).within(STRICT)
    assert compare(f32(0, 1e-9), f32(0, 0)).relative_l2 == math.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_measured_against_a_reference_that_is_not_finite(value):
    with pytest.raises(ValueError, match="the reference is not finite"):
        compare(f32(1, 1), f32(1, value))


def test_float32_is_held_to_the_designs_figure_on_every_device():
    for device in ("cpu", "gpu"):
        allowed = tolerance("float32", device)
        assert (allowed.relative_l2, allowed.relative_max) == (1e-5, 1e-5)


def test_every_tolerance_has_a_reason_and_none_is_looser_without_another():
    assert len({allowed.reason for allowed in TOLERANCES.values()}) == len(TOLERANCES)
    assert all(len(allowed.reason) > 40 for allowed in TOLERANCES.values())


def test_a_format_without_a_tolerance_is_refused():
    with pytest.raises(UsageError, match="no tolerance for tf32 on cpu: expected float32 on cpu"):
        tolerance("tf32", "cpu")


def test_ordinary_weights_get_no_more_room():
    base = tolerance("float32", "cpu")

    assert widened(base, 5e-7, 9e-7) is base


def test_noisy_weights_get_four_times_their_noise_with_the_figures_in_the_reason():
    allowed = widened(tolerance("float32", "cpu"), 8e-6, 1.2e-5)

    assert (allowed.relative_l2, allowed.relative_max) == pytest.approx((3.2e-5, 4.8e-5))
    assert "moves by 8.0e-06 and 1.2e-05" in allowed.reason


def test_no_noise_excuses_more_than_the_limit():
    allowed = widened(tolerance("float32", "cpu"), 1.0, math.inf)

    assert (allowed.relative_l2, allowed.relative_max) == (WIDEST, WIDEST)


def test_the_furthest_element_is_named_with_both_values():
    reference = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = reference.copy()
    found[1, 2, 0] += 3
    found[0, 1, 1] -= 2

    worst = compare(found, reference).worst

    assert worst is not None
    assert (worst.index, worst.expected, worst.found) == ((1, 2, 0), 20, 23)
    assert str(worst) == "(1, 2, 0): expected 20, found 23"


def test_what_is_not_finite_is_furthest_even_behind_a_chunk():
    reference = np.ones(2**20 + 5, np.float32)
    found = reference.copy()
    found[3], found[-2] = 1e30, np.nan

    worst = compare(found, reference).worst

    assert worst is not None
    assert (worst.index, worst.found) == ((2**20 + 3,), None)


def test_cosine_is_that_of_the_angle_between_the_two():
    assert compare(f32(1, 1), f32(1, 0)).cosine == pytest.approx(math.sqrt(0.5))
    assert compare(f32(-2, 0), f32(1, 0)).cosine == -1
    assert compare(f32(0, 0), f32(1, 0)).cosine is None
    assert compare(f32(np.nan, 0), f32(1, 0)).cosine is None


@pytest.mark.parametrize("dtype", [*EXACT, *FLOATS, np.dtype(ml_dtypes.int4)], ids=str)
@pytest.mark.parametrize("same_non_finite", [False, True])
def test_an_array_of_every_type_is_itself_and_not_another(dtype, same_non_finite):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    other = array.copy()
    other[1, 2] = 0

    for same in (array, array[:0], array[0, 1]):
        assert compare(same, same, same_non_finite=same_non_finite).within(Tolerance(0, 0, "for tests"))
    difference = compare(other, array, same_non_finite=same_non_finite)
    assert not difference.within(STRICT)
    if dtype not in FLOATS:
        assert not difference.within(LOOSEST)
        assert str(difference).startswith("1 of 6 elements differ, first (1, 2): expected")
    assert not compare(array[:1], array, same_non_finite=same_non_finite).within(LOOSEST)


def test_integers_are_exact():
    right = np.array([2**53 + 1, -(2**63)], np.int64)

    assert not compare(np.array([2**53, -(2**63)], np.int64), right).within(LOOSEST)


def test_a_half_is_measured_in_float64():
    # Its squares overflow in float16 itself.
    right = np.array([30000, 60000], np.float16)

    difference = compare(right + np.array([0, 32], np.float16), right)

    assert difference.relative_max == pytest.approx(32 / 60000)


def test_complex_numbers_are_compared_as_pairs():
    right = np.array([1 + 2j, 3 - 4j], np.complex64)
    pairs = f32(1, 2, 3, -4).reshape(2, 2)

    assert compare(right.copy(), right).within(STRICT)
    assert compare(pairs, right).within(STRICT)
    assert compare(pairs * f32(1, -1), right).relative_max == pytest.approx(2)
    assert str(compare(right, right.astype(np.complex128))) == "expected float64 (2, 2), found float32 (2, 2)"


def test_what_is_not_finite_can_have_its_place():
    right = f32(1, np.nan, np.inf, -np.inf, 0)

    assert compare(right.copy(), right, same_non_finite=True).within(STRICT)
    for place, value in ((0, np.nan), (1, 1), (1, np.inf), (2, np.nan), (2, -np.inf), (3, -1e38), (4, np.inf)):
        other = right.copy()
        other[place] = value
        difference = compare(other, right, same_non_finite=True)
        assert not difference.within(LOOSEST)
        assert f"1 of 5 elements differ, first ({place})" in str(difference)


def test_the_largest_float64_numbers_are_compared_too():
    right = np.array([1e308, -1e300, 5e-320])

    assert compare(right.copy(), right).within(allowed_for(()))
    assert not compare(right * (1 + 1e-9), right).within(allowed_for({"float64"}))


def test_the_coarsest_type_decides_what_is_allowed():
    limits = [
        allowed_for(floats).relative_l2
        for floats in ({"float64"}, {"float64", "float32"}, {"float16", "float32"}, {"bfloat16", "float16"})
    ]

    assert limits == sorted(limits)
    assert limits[0] < 1e-9 < limits[1] == 1e-5 < limits[2] < limits[3]
    with pytest.raises(UsageError, match="no tolerance for float8_e5m2: expected float64, float32, float16, bfloat16"):
        allowed_for({"float8_e5m2"})


def test_what_is_allowed_to_float32_is_allowed_to_coarser_types_too():
    tf32 = tolerance("tf32", "gpu")

    assert allowed_for({"float32"}, tf32) is tf32
    assert allowed_for({"float64"}, tf32).relative_l2 < 1e-9
    assert allowed_for({"bfloat16"}, tf32) is tolerance("bfloat16", "cpu")
    assert allowed_for({"float16"}, Tolerance(1, 1, "for tests")).relative_l2 == 1
