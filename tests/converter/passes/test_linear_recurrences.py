"""States of scans that are linear in themselves: computed in blocks of steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
from jax import lax

from swift_export.converter.passes.nested import all_nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)
STEPS = 40
X = rng.standard_normal((STEPS, 2, 3), np.float32)
A = rng.random((STEPS, 2, 3), np.float32)
DECAY = rng.random(3, np.float32)
#: Per step, as a function of the state, the row and a row of factors.
Step = Callable[[Any, Any, Any], Any]


def scanned(step: Step, reverse: bool = False) -> Callable[[Any, Any], Any]:
    """The last state, and of each step the states before and after it and what is made of them."""

    def body(h: Any, row: Any) -> Any:
        after = step(h, *row)
        return after, (h, jnp.tanh(after))

    return lambda x, a: lax.scan(body, x[0] * 0 + 0.5, (x, a), reverse=reverse)


def in_a_loop(model: oir.Model) -> bool:
    """Whether the model has a loop that is not beside the result of blocks."""
    branches = {id(node.graph) for node in all_nodes(model.graph) if node.op_type == "Loop"}
    return id(model.graph) in branches


LINEAR: dict[str, Step] = {
    "one factor": lambda h, x, a: h - 0.75 * (x + h) - x,
    "factors of steps": lambda h, x, a: a * h + (1 - a) * x[:, :1],
    "a sum": lambda h, x, a: h + x,
    "factors of units": lambda h, x, a: DECAY * h + (1 - DECAY) * x,
    "masked": lambda h, x, a: jnp.where(x > 0, (h + x) * a / 2, h),
    "the row before": lambda h, x, a: x * 2,
    "larger than 1": lambda h, x, a: 1.1 * h - x,
}


def test_linear_states_need_no_loop() -> None:
    def function(x: Any, a: Any) -> Any:
        forwards = [scanned(step)(x, a) for step in LINEAR.values()]
        return forwards, [scanned(step, reverse=True)(x, a) for step in list(LINEAR.values())[:3]]

    model = run_and_compare(function, X, A, rtol=5e-6, symbolic=None)
    assert not in_a_loop(model)
    # None of sums and of rows before.
    assert op_types(model)["If"] == 7


def test_batches_of_unknown_size_in_double_precision() -> None:
    def function(x: Any, a: Any) -> Any:
        return scanned(LINEAR["factors of steps"])(jnp.swapaxes(x, 0, 1), jnp.swapaxes(a, 0, 1))

    with jax.enable_x64(True):
        batch = (np.swapaxes(array, 0, 1).astype(np.float64) for array in (X, A))
        model = run_and_compare(function, *batch, rtol=1e-14)
        assert not in_a_loop(model)
        empty = np.zeros((0, STEPS, 3))
        assert [found.shape for found in run(model, empty, empty)][:2] == [(0, 3), (STEPS, 0, 3)]


def test_numbers_that_are_not_finite_take_the_loop() -> None:
    """Products of factors overflow or vanish where states do not."""
    function = scanned(lambda h, x, a: a * h + x)
    model = lower(function, X, A, symbolic=None)
    compiled = jax.jit(function)
    huge, tiny = (np.where(np.arange(STEPS)[:, None, None] % 20 < 5, number, A) for number in (1e20, 1e-20))
    wild = X.copy()
    wild[20, 0, 0], wild[21, 1, 1] = np.inf, np.nan
    for x, a in ((X * 0, huge), (X, tiny), (wild, A), (wild, A * 0), (X, np.where(A > 0.5, np.nan, A))):
        wanted = jax.tree.leaves(compiled(x, a.astype(np.float32)))
        for optimized in (False, True):
            for found, expected in zip(run(model, x, a.astype(np.float32), optimized=optimized), wanted, strict=True):
                np.testing.assert_allclose(found, expected, rtol=5e-6, atol=5e-6)


OTHER: dict[str, Step] = {
    "a factor of the state": lambda h, x, a: jnp.tanh(h) * h + x,
    "a choice by the state": lambda h, x, a: jnp.where(h > 0, h * a, x),
    "a quotient": lambda h, x, a: a / (h + 3),
}


def test_other_states_stay() -> None:
    def function(x: Any, a: Any) -> Any:
        return [scanned(step)(x, a)[0] for step in OTHER.values()]

    model = run_and_compare(function, X, A, rtol=5e-6, symbolic=None)
    assert op_types(model)["Loop"] == len(OTHER)


def test_one_state_of_two() -> None:
    def function(x: Any, a: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            h, c = state
            c = jnp.tanh(c + h) + row[0]
            return (h * row[1] + row[0], c), c

        return lax.scan(step, (x[0], x[0]), (x, a))

    model = run_and_compare(function, X, A, rtol=5e-6, symbolic=None)
    (loop,) = [node for node in model.graph if node.op_type == "Loop"]
    assert len(loop.inputs) == 3
