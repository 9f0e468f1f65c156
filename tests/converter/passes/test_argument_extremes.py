"""Indices of extremes take NaN as the extreme, in a branch for arrays that may hold any."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from swift_export.converter.passes import run_passes
from swift_export.converter.passes.argument_extremes import plain_arguments

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

#: Rows in which NaN, an infinity or neither is the extreme, some more than once.
X = np.asarray(
    [[1, np.nan, np.inf, np.nan], [np.inf, 2, np.inf, np.nan], [0.0, -0.0, 0, -np.inf], [-np.inf] * 4, [3, 3, 1, 1]],
    np.float32,
)


def both(x: jax.Array) -> list[jax.Array]:
    return [jnp.argmax(x, 1), jnp.argmin(x, 1), jnp.argmax(x, 0), jnp.argmax(x)]


def test_the_first_nan_is_the_extreme() -> None:
    model = lower(both, X)
    # One with NaN of rows without; and infinities of both signs, whose sum is NaN.
    for rows in (X, X[2:], X[1:3], X[[2, 4]], np.where(np.isnan(X), -np.inf, X)):
        wanted = [np.argmax(rows, 1), np.argmin(rows, 1), np.argmax(rows, 0), np.argmax(rows)]
        for optimized in (False, True):
            for found, exact in zip(run(model, rows, optimized=optimized), wanted, strict=True):
                np.testing.assert_array_equal(found, exact)
    assert op_types(model)["If"] == 4
    assert op_types(model)["ReduceSum"] == 2
    assert "IsNaN" not in op_types(model)


def test_passes_that_run_again_change_nothing() -> None:
    model = lower(both, X)
    counts = op_types(model)
    run_passes(model)
    assert op_types(model) == counts
    assert plain_arguments(model.graph) == 4


def test_numbers_without_nan_need_no_branch() -> None:
    model = run_and_compare(lambda x: jnp.argmax((x > 0).astype(jnp.float32), 1), X)
    assert "If" not in op_types(model)
