"""Maxima that only shift exponentials are left as they are; NaN reaches the results all the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from swift_export.converter.passes.extremes import plain_extremes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run

ROWS = np.array(
    [
        *([0, 1, 2, 3], [1, np.nan, 0, 0], [np.nan, 1, 2, 3], [1, 2, 3, np.nan], [-1e4, 1e4, 2, 3], [1, np.inf, 2, 3]),
        *([1, np.nan, np.inf, 3], [-np.inf] * 4, [1, -np.inf, 2, 3], [0, -0.0, -0.0, 0], [-0.0, -90, -99, -100]),
    ],
    np.float32,
)


def softmax_of_pairs(x: jax.Array) -> jax.Array:
    e = jnp.exp(x - x.max((1, 2), keepdims=True))
    return e / e.sum((1, 2), keepdims=True)


SHIFTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
    "logsumexp, axis kept": lambda x: jax.nn.logsumexp(x, axis=1, keepdims=True),
    "logmeanexp": lambda x: jax.nn.logmeanexp(x, axis=1),
    "softmax of pairs": lambda x: softmax_of_pairs(x.reshape(-1, 2, 2)),
}


def completed(function: Callable[[jax.Array], jax.Array]) -> int:
    """How many maxima the file completes; on the way, compare it with JAX."""
    model = lower(function, ROWS)
    wanted = np.asarray(jax.jit(function)(ROWS))
    for optimized in (False, True):
        (found,) = run(model, ROWS, optimized=optimized)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-37)
        there = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found[there]), np.signbit(wanted[there]))
    return plain_extremes(model.graph)


def test_shifts() -> None:
    assert {name: completed(function) for name, function in SHIFTS.items()} == dict.fromkeys(SHIFTS, 0)


#: NaN in a row or the sign of a zero would be lost.
OTHERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "the maximum too": lambda x: jax.nn.logsumexp(x, axis=1) + 0 * x.max(1),
    "exponentials of the row": lambda x: jnp.exp(x - x.max(1, keepdims=True)),
    "shifted elements": lambda x: x - x.max(1, keepdims=True),
    "another sum": lambda x: jnp.log(jnp.exp(x - x.max(1, keepdims=True)).sum(0)),
    "sums of some": lambda x: jnp.log(jnp.exp(x - x.max(1, keepdims=True))[:, :2].sum(1)),
}


def test_others_are_completed() -> None:
    assert {name: completed(function) for name, function in OTHERS.items()} == dict.fromkeys(OTHERS, 1)
