"""Functions of sizes: right for all numbers, one spelling for equal sizes, bounds that hold."""

from __future__ import annotations

import itertools
import math

import pytest

from swift_export.converter.dims import Dim, Size
from swift_export.converter.size_functions import (
    Facts,
    floordiv,
    least,
    maximum,
    minimum,
    most,
    nonzero,
    positive,
    quotient,
    sign,
)

H, W = Dim.symbol("h"), Dim.symbol("w")
NUMBERS = list(itertools.product(range(9), range(4)))

#: Sizes of every kind, and what they are for numbers.
SIZES: dict[str, tuple[Size, object]] = {
    "rounded down": (floordiv(H - 5, 3), lambda h, w: (h - 5) // 3),
    "by a size": (floordiv(H + 1, W + 1), lambda h, w: (h + 1) // (w + 1)),
    "twice": (floordiv(floordiv(H + 1, 2) + 1, 2), lambda h, w: ((h + 1) // 2 + 1) // 2),
    "common factors": (floordiv(4 * H + 6 * W + 3, 8), lambda h, w: (4 * h + 6 * w + 3) // 8),
    "towards zero": (quotient(H - 5, 3), lambda h, w: int(math.copysign(abs(h - 5) // 3, h - 5))),
    "larger": (maximum(H, 2 * W - 1), lambda h, w: max(h, 2 * w - 1)),
    "smaller": (minimum(H, 2 * W - 1), lambda h, w: min(h, 2 * w - 1)),
    "clamped": (minimum(maximum(H - 3, 0), W), lambda h, w: min(max(h - 3, 0), w)),
    "positive": (positive(H - W), lambda h, w: int(h > w)),
    "different": (nonzero(H - W), lambda h, w: int(h != w)),
    "sign": (sign(H - W), lambda h, w: (h > w) - (h < w)),
    "remainder": (H - floordiv(H, 4) * 4, lambda h, w: h % 4),
    "product": (floordiv(H, 2) * maximum(W - 1, 0), lambda h, w: (h // 2) * max(w - 1, 0)),
    "difference": (floordiv(H, 2) - floordiv(H + 3, 4), lambda h, w: h // 2 - (h + 3) // 4),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_its_numbers_within_its_bounds(name: str) -> None:
    size, number = SIZES[name]
    assert isinstance(size, Dim)
    assert callable(number)
    found = {(h, w): size.at({"h": h, "w": w}) for h, w in NUMBERS}
    assert found == {(h, w): number(h, w) for h, w in NUMBERS}
    assert all(least(size, {}) <= n <= most(size, {}) for n in found.values())
    larger = {(h, w): n for (h, w), n in found.items() if h >= 3}
    assert all(least(size, {"h": 3}) <= n for n in larger.values())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (floordiv(2 * H, 2), H),
        (floordiv(H + 2, 2), floordiv(H, 2) + 1),
        (-floordiv(-H, 2), H - floordiv(H, 2)),
        (floordiv(floordiv(H, 2), 2), floordiv(H, 4)),
        (floordiv(4 * H + 3, 8), floordiv(H, 2)),
        (maximum(H, W), maximum(W, H)),
        (maximum(H, W) + minimum(H, W), H + W),
        (maximum(H + 1, W + 1), maximum(W, H) + 1),
        (maximum(H - floordiv(H, 2), 0), H - floordiv(H, 2)),
        (minimum(floordiv(H, 2), H), floordiv(H, 2)),
        (nonzero(H - W), nonzero(W - H)),
        (quotient(H, 2), floordiv(H, 2)),
    ],
)
def test_equal_sizes_have_one_spelling(a: Size, b: Size) -> None:
    assert a == b
    assert str(a) == str(b)


def test_a_bound_that_the_program_asserts_is_noted_where_it_is_needed() -> None:
    facts = Facts(asserted={"h": 1, "w": 1})
    assert maximum(H, 0, facts) == H
    assert facts.used == set()
    assert maximum(H - 1, 0, facts) == H - 1
    assert facts.used == {"h"}
    assert maximum(W - 2, 0, facts) == Dim.call("max", W - 2, 0)
    assert facts.used == {"h"}
