"""The two measures, on arrays whose differences are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swift_export.errors import UsageError
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import TOLERANCES, WIDEST, Tolerance, tolerance, widened

STRICT = Tolerance(1e-5, 1e-5, "for tests")


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_both_measures_are_relative_to_the_reference():
    difference = compare(f32(3, 4, 12.5), f32(3, 4, 12))

    assert difference.relative_l2 == pytest.approx(0.5 / 13)
    assert difference.relative_max == pytest.approx(0.5 / 12)
    assert difference.non_finite == 0


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
    with pytest.raises(UsageError, match="no tolerance for bfloat16 on gpu: expected float32 on cpu"):
        tolerance("bfloat16", "gpu")


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
