"""Tokens cut into groups: every token once, the sets that the definition gives, and the same features either way."""

from __future__ import annotations

import importlib.util
from functools import cache
from itertools import product
from pathlib import Path

import jax
import numpy as np
import pytest

from swift_export.models.swift.backbone import SwiFT, SwiFTConfig
from swift_export.models.swift.backbone.partition import FORMS, WORTH_A_GROUP, partition
from swift_export.models.swift.backbone.windows import window_regions, window_tokens
from swift_export.models.swift.config import WindowPlan
from swift_export.models.swift.variants import VARIANTS

GOLDEN = Path(__file__).parents[3] / "golden"
spec = importlib.util.spec_from_file_location("recipe", GOLDEN / "recipe.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)

PLANS = {
    "unshifted": WindowPlan((4, 4, 2, 6), (2, 2, 2, 3), (0, 0, 0, 0)),
    "one axis": WindowPlan((8, 2, 2, 2), (4, 2, 2, 2), (2, 0, 0, 0)),
    "all axes": WindowPlan((4, 4, 4, 6), (2, 2, 2, 3), (1, 1, 1, 1)),
    "padded": WindowPlan((5, 2, 3, 4), (2, 2, 2, 3), (1, 0, 1, 1)),
    "padded, unshifted": WindowPlan((5, 3, 3, 3), (2, 2, 2, 2), (0, 0, 0, 0)),
    "odd": WindowPlan((9, 3, 3, 7), (3, 3, 3, 5), (1, 0, 0, 2)),
    "one window": WindowPlan((3, 3, 3, 2), (3, 3, 3, 2), (0, 0, 0, 0)),
}
PUBLISHED = VARIANTS["contrastive"].config


def sizes(found):
    return [(group.sets, group.tokens) for group in found.groups]


def sets_of(found):
    """Every set's tokens, group by group."""
    rest = found.order
    for group in found.groups:
        here, rest = np.split(rest, [group.sets * group.tokens])
        yield from here.reshape(group.sets, group.tokens)
    assert rest.size == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PLANS)
def test_every_token_of_the_padded_grid_comes_once_and_goes_back(name, form):
    plan = PLANS[name]
    found = partition(plan, form)

    count = np.prod(plan.padded)
    np.testing.assert_array_equal(np.sort(found.order), np.arange(count))
    np.testing.assert_array_equal(found.order[found.inverse], np.arange(count))
    np.testing.assert_array_equal(found.inverse[found.order], np.arange(count))
    assert found.order.dtype == found.inverse.dtype == np.int32
    assert sum(sets * tokens for sets, tokens in sizes(found)) == count


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PLANS)
def test_who_attends_to_whom_is_as_defined(name, form):
    plan = PLANS[name]
    count = np.prod(plan.padded)
    window, region = np.empty(count, int), np.empty(count, int)
    for number, (tokens, regions) in enumerate(zip(window_tokens(plan), window_regions(plan), strict=True)):
        window[tokens], region[tokens] = number, regions
    found = partition(plan, form)
    together = np.zeros((count, count), bool)
    masked = np.zeros((count, count), bool)
    members = sets_of(found)
    for group in found.groups:
        for i in range(group.sets):
            tokens = next(members)
            together[np.ix_(tokens, tokens)] = True
            if group.regions is not None:
                masked[np.ix_(tokens, tokens)] = group.regions[i][:, None] != group.regions[i][None]

    same_window = window[:, None] == window[None]
    same_region = region[:, None] == region[None]
    np.testing.assert_array_equal(together & ~masked, same_window & same_region)
    # The mask is not lost, but added: as in the definition, a masked token is seen a little.
    if form == "masked":
        np.testing.assert_array_equal(together, same_window)
    else:
        assert not masked.any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["unshifted", "padded, unshifted", "one window"])
def test_without_a_shift_there_is_one_group_of_whole_windows(name, form):
    plan = PLANS[name]
    found = partition(plan, form)

    assert sizes(found) == [(np.prod(plan.counts), plan.tokens)]
    assert found.groups[0].regions is None


@pytest.mark.parametrize("name", PLANS)
def test_regions_are_one_group_a_size_large_before_small(name):
    tokens = [tokens for _, tokens in sizes(partition(PLANS[name], "regions"))]

    assert tokens == sorted(set(tokens), reverse=True)


@pytest.mark.parametrize("axis", [16, 64, 128, 132, 256])
def test_windows_without_a_mask_are_a_group_of_their_own_where_they_are_many(axis):
    plan = WindowPlan((axis, 2, 2, 2), (4, 2, 2, 2), (2, 0, 0, 0))
    uncut = axis // 4 - 1
    groups = partition(plan, "masked").groups

    masked = groups[-1]
    cut = [len(set(row)) > 1 for row in masked.regions]
    assert sum(cut) == 1
    if uncut >= WORTH_A_GROUP:
        assert [(group.sets, group.tokens) for group in groups] == [(uncut, 32), (1, 32)]
        assert groups[0].regions is None
    else:
        assert [(group.sets, group.tokens) for group in groups] == [(uncut + 1, 32)]


def test_the_published_architectures_groups():
    plan = PUBLISHED.window_plan(0, 1)
    assert (plan.grid, plan.window, plan.shift) == ((16, 16, 16, 20), (4, 4, 4, 4), (2, 2, 2, 2))

    assert sizes(partition(plan, "regions")) == [(108, 256), (270, 128), (252, 64), (104, 32), (16, 16)]
    # Three of four windows are whole on a spatial axis of four, four of five in time.
    assert sizes(partition(plan, "masked")) == [(108, 256), (212, 256)]
    assert 4 * 4 * 4 * 5 == 108 + 212 == np.prod(plan.counts)


@pytest.mark.parametrize("stage", range(PUBLISHED.stages))
@pytest.mark.parametrize("frames", [None, 13, 3])
def test_groups_multiply_over_the_axes(stage, frames):
    """Counted otherwise: a set is a piece of an axis times a piece of each other axis."""
    plan = PUBLISHED.window_plan(stage, 1, frames)
    pieces = []
    for n, w, s in zip(plan.padded, plan.window, plan.shift, strict=True):
        pieces.append([w] * (n // w - 1) + [w - s, s] if s else [w] * (n // w))
    expected = {}
    for sides in product(*pieces):
        expected[int(np.prod(sides))] = expected.get(int(np.prod(sides)), 0) + 1

    found = partition(plan, "regions")

    assert {tokens: sets for sets, tokens in sizes(found)} == expected
    assert len(found.groups) == len(expected)


@cache
def features(name, form, batch=1):
    """Features of a golden case with all shifted blocks in one form, or as defined (None)."""
    case = recipe.load_case(name)
    config = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"])
    model = SwiFT(config, recipe.checkpoint_state(case))
    blocks = [(stage, block) for stage, depth in enumerate(config.depths) for block in range(depth)]
    forms = dict.fromkeys(blocks, form) if form else None
    bold = recipe.clip(case)[:1]
    bold = np.concatenate([bold, *(np.roll(bold, i, 2) * np.float32(1 + i) for i in range(1, batch))])
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(lambda m, x: m.named_outputs(x, forms=forms)["features"])(model, bold))


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["tiny-full", "tiny-windowed", "tiny-padded"])
def test_the_forms_give_the_features_of_the_definition(name, batch, form):
    defined, cut = features(name, None, batch), features(name, form, batch)

    assert cut.shape == defined.shape == (batch, *cut.shape[1:])
    for one, other in zip(cut, defined, strict=True):
        assert distance(one, other) <= 2e-6
    assert distance(cut[:1], np.load(GOLDEN / name / "features.npy")[:1]) <= 2e-6


def test_masks_are_the_definitions_where_scores_are_large():
    """Scores to 37 make float32 noisy, 1e-4 by the recorded README; masks must be no other."""
    defined, cut = features("sharp", None), features("sharp", "masked")

    assert distance(cut, defined) <= 1e-4
    assert distance(cut, np.load(GOLDEN / "sharp" / "features.npy")[:1]) <= 1e-4


@pytest.mark.full_size
@pytest.mark.parametrize("name", ["contrastive", "hcp-sex"])
def test_masked_groups_give_the_published_features(name):
    assert distance(features(name, "masked"), np.load(GOLDEN / name / "features.npy")) <= 2e-6
