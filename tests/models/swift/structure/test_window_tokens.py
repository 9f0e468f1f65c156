"""Expected windows and masks against the definition, token by token."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from swift_export.models.swift.config import WindowPlan
from swift_export.models.swift.structure.window_tokens import expected_mask, expected_tokens

PLANS = {
    "plain": WindowPlan((4, 2, 2, 4), (2, 2, 2, 2), (0, 0, 0, 0)),
    "shifted": WindowPlan((4, 4, 2, 6), (2, 2, 2, 3), (1, 1, 0, 1)),
    "padded": WindowPlan((5, 2, 3, 4), (2, 2, 2, 3), (1, 0, 1, 1)),
    "odd": WindowPlan((6, 3, 3, 1), (3, 3, 3, 1), (1, 0, 0, 0)),
}


def token_at(plan: WindowPlan, place: tuple[int, ...]) -> int:
    """Number, from 1, of the token at a place of the padded, shifted grid; 0 for padding."""
    source = [(p + s) % n for p, s, n in zip(place, plan.shift, plan.padded, strict=True)]
    inside = all(i < n for i, n in zip(source, plan.grid, strict=True))
    return 1 + int(np.ravel_multi_index(source, plan.grid)) if inside else 0


def region_at(plan: WindowPlan, place: tuple[int, ...]) -> tuple[int, ...]:
    """Per axis 0, 1 or 2: [0, n-w), [n-w, n-s), [n-s, n); one single range where s = 0."""
    axes = zip(place, plan.padded, plan.window, plan.shift, strict=True)
    return tuple((0 if p < n - w else 1 if p < n - s else 2) if s else 0 for p, n, w, s in axes)


def places(plan: WindowPlan) -> list[list[tuple[int, ...]]]:
    """Places of the padded grid, window by window, both in C order."""
    corners = itertools.product(*(range(n // w) for n, w in zip(plan.padded, plan.window, strict=True)))
    return [
        [
            tuple(c * w + o for c, w, o in zip(corner, plan.window, offset, strict=True))
            for offset in itertools.product(*map(range, plan.window))
        ]
        for corner in corners
    ]


@pytest.mark.parametrize("name", PLANS)
def test_tokens_are_where_the_definition_puts_them(name):
    plan = PLANS[name]

    np.testing.assert_array_equal(
        expected_tokens(plan), [[token_at(plan, place) for place in window] for window in places(plan)]
    )


@pytest.mark.parametrize("name", ["shifted", "padded", "odd"])
def test_masks_part_the_regions_of_the_definition(name):
    plan = PLANS[name]
    mask = expected_mask(plan)

    assert mask.dtype == np.float32
    for found, window in zip(mask, places(plan), strict=True):
        regions = [region_at(plan, place) for place in window]
        np.testing.assert_array_equal(found, [[0.0 if a == b else -100.0 for b in regions] for a in regions])
    assert set(np.unique(mask)) == {-100.0, 0.0}


def test_a_block_that_does_not_shift_has_no_mask():
    assert expected_mask(PLANS["plain"]) is None
