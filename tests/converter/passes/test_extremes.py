"""Reductions to extremes keep NaN and the signs of zeros in the finished graph, and are plain to the passes."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from graphs import op_types, run

from swift_export.converter.passes import run_passes
from swift_export.converter.passes.extremes import plain_extremes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run_and_compare

#: NaN first, in the middle, last; zeros of both signs.
X = np.asarray([[np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan], [0.0, -0.0, -1], [-0.0, 0.0, 1]], np.float32)


@pytest.mark.parametrize("fuse", [True, False])
def test_nan_and_zeros_are_kept(fuse: bool) -> None:
    model = lower(lambda x: [jnp.max(x, 1), jnp.min(x, 1), jnp.max(x)], X, fuse=fuse)
    largest, smallest, whole = run(model, X)
    np.testing.assert_array_equal(largest, [np.nan, np.nan, np.nan, 0, 1])
    np.testing.assert_array_equal(smallest, [np.nan, np.nan, np.nan, -1, 0])
    assert not np.signbit(largest[3])
    assert np.signbit(smallest[4])
    assert np.isnan(whole)


def test_passes_see_plain_reductions() -> None:
    model = lower(lambda x: [jnp.max(x, 1), jnp.min(x, 0)], X)
    assert plain_extremes(model.graph) == 2
    assert [output.producer().op_type for output in model.graph.outputs] == ["ReduceMax", "ReduceMin"]
    assert plain_extremes(model.graph) == 0


def test_maxima_of_which_no_result_tells_zeros_apart() -> None:
    """Four nodes, three of numbers that are not negative, one without NaN; on the edges of both types."""
    rng = np.random.default_rng(0)

    def function(x: jax.Array, y: jax.Array) -> list[jax.Array]:
        extremes = [jnp.max(x, 1), jnp.min(x, 1), jnp.max(jnp.abs(x)), jnp.max(y, 1), jnp.min(y, 0)]
        return [*map(jnp.exp, extremes), jnp.exp(jnp.max((x > 0).astype(np.float32), 1))]

    def rows(dtype: type) -> np.ndarray:
        limits = np.finfo(dtype)
        kinds = [np.nan, np.inf, -np.inf, 0, -0.0, limits.max, limits.min, limits.tiny, 1, -1]
        # Half of the rows without NaN.
        return np.asarray(kinds, dtype)[rng.integers(np.arange(40)[:, None] % 2, len(kinds), (40, 5))]

    with jax.enable_x64(True):
        model = run_and_compare(function, rows(np.float32), rows(np.float64), symbolic=None)
    counts = op_types(model)
    assert counts["Min"] == 5
    assert counts["Abs"] == 2
    assert "If" not in counts


def test_passes_that_run_again_change_nothing() -> None:
    model = lower(lambda x: jnp.max(x, 1), X, fuse=False)
    counts = op_types(model)
    for fuse in (False, True, True):
        run_passes(model, fuse=fuse)
        assert op_types(model) == counts


def test_extremes_in_bodies_of_loops() -> None:
    def function(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 3, lambda i, x: x + jnp.max(x, 1, keepdims=True), x)

    run_and_compare(function, X)


def test_integers_stay_as_they_are() -> None:
    assert op_types(lower(lambda x: jnp.max(x, 1), np.ones((2, 3), np.int8))) == {"ReduceMax": 1}


def test_a_softmax_needs_no_signs_of_zeros() -> None:
    def floored(x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.maximum(x, y), axis=-1)

    zeros = np.array([[0.0, -0.0, 1.0], [-0.0, 0.0, np.nan]], np.float32)
    model = run_and_compare(floored, zeros, -zeros, symbolic=None)
    assert op_types(model) == {"Max": 1, "Softmax": 1}
