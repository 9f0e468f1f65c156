"""Relu takes the place of a maximum with 0 only where no result tells +0 from -0."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run, run_and_compare

X = np.asarray([[-0.0, 0.0, 1, -1, np.nan, np.inf, -np.inf, 2]], np.float32)
W = np.random.default_rng(0).standard_normal((8, 3), np.float32)

LOST: dict[str, Callable[[jax.Array], jax.Array]] = {
    "a product": lambda y: y @ W,
    "a sum behind moves": lambda y: jnp.concatenate([y.T, -2 * y.T]).reshape(2, -1).sum(0),
    "a comparison": lambda y: jnp.where(y > 0, 1, 2),
    "an exponential": lambda y: jnp.exp(y),
}
TOLD: dict[str, Callable[[jax.Array], jax.Array]] = {
    "an output": lambda y: y,
    "an output behind moves": lambda y: y.T * 2,
    "a reciprocal": lambda y: 1 / y,
    "a loop": lambda y: lax.fori_loop(0, 2, lambda _, z: z + y, y),
    "both": lambda y: (y @ W).sum() + 1 / y,
}


@pytest.mark.parametrize("name", [*LOST, *TOLD])
def test_relu(name: str) -> None:
    reader = LOST.get(name) or TOLD[name]
    model = run_and_compare(lambda x: reader(jax.nn.relu(x)), X, symbolic=None)
    assert ("Relu" in op_types(model)) == (name in LOST)
    assert ("Max" in op_types(model)) == (name in TOLD)


@pytest.mark.parametrize("name", ["a product", "a reciprocal"])
def test_relu6(name: str) -> None:
    """Like Relu, a Clip joins the convolution before it."""
    reader = LOST.get(name) or TOLD[name]
    model = run_and_compare(lambda x: reader(jax.nn.relu6(x * 5)), X, symbolic=None)
    assert ("Clip" in op_types(model)) == (name in LOST)


def test_maxima_and_minima_of_two_arrays() -> None:
    """One node where no result tells zeros apart; where one does, all of theirs."""

    def extremes(x: jax.Array) -> list[jax.Array]:
        y = x[:, ::-1]
        return [jnp.maximum(x, y), jnp.minimum(x, y), jnp.minimum(x, 0), jnp.maximum(x, 2 * x)]

    lost = run_and_compare(lambda x: [jnp.exp(y) for y in extremes(x)], X, symbolic=None)
    assert op_types(lost) == {"Slice": 1, "Max": 2, "Min": 2, "Mul": 1, "Exp": 4}
    told = run_and_compare(extremes, X, symbolic=None)
    assert op_types(told)["Where"] == 3
    for found, wanted in zip(run(told, X, optimized=True), map(np.asarray, jax.jit(extremes)(X)), strict=True):
        np.testing.assert_array_equal(np.signbit(found[wanted == 0]), np.signbit(wanted[wanted == 0]))
