"""Work of a loop's steps that no later step reads: one op behind the loop for all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter.passes.nested import all_nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

sys.path.insert(0, str(Path(__file__).parent))
from test_batch_steps import WORK, B, W, X, inside
from test_recurrent import H, gru
from test_recurrent import X as ROWS

KINDS = ["products with a matrix", "parts and wholes"]


def cell(h: Any, t: Any) -> Any:
    """A recurrence of sines and sums, of which no other op of the tests is made."""
    return jnp.sin(h + t)


def test_work_on_states_is_done_once_behind_the_loop() -> None:
    """Backwards for a known number of steps, forwards for an unknown one, also none."""

    def function(x: Any, reverse: bool = False) -> Any:
        def step(carry: Any, t: Any) -> Any:
            i, h = carry
            h = cell(h, t)
            done = [WORK[name](h, i) for name in KINDS]
            return (i + 1, h), (done, h if reverse else (), h * t + i)

        return lax.scan(step, (0, jnp.ones((3, 4))), x, reverse=reverse)[1]

    for reverse in (True, False):
        model = lower(lambda x, reverse=reverse: function(x, reverse), X, symbolic=None if reverse else "t")
        assert sorted(set(inside(model)) - {"Identity", "Sub"}) == ["Add", "Gather", "Sin"]
        assert inside(model).count("Add") == 1
        for length in (5,) if reverse else (5, 0):
            wanted = jax.tree.leaves_with_path(jax.jit(function, static_argnums=1)(X[:length], reverse))
            for found, (path, rows) in zip(run(model, X[:length], optimized=True), wanted, strict=True):
                np.testing.assert_allclose(found, rows, rtol=2e-6, atol=2e-6, err_msg=str(path))


@pytest.mark.parametrize("masked", [False, True])
def test_a_cell_with_a_layer_on_each_state_becomes_one_op(masked: bool) -> None:
    def function(x: Any) -> Any:
        def step(h: Any, t: Any) -> Any:
            takes = t[:, :1] > -1
            after = gru(h, t)
            h = jnp.where(takes, after, h) if masked else after
            return h, (jnp.tanh(h[:, :4] @ W + B) * t[:, :1], jnp.where(takes, after, 0) + 1)

        return lax.scan(step, H, x)

    model = run_and_compare(function, ROWS, rtol=2e-6, symbolic=None)
    assert "GRU" in {node.op_type for node in all_nodes(model.graph)}
    assert op_types(model)["Tanh"] == 1


def test_what_later_steps_read_and_what_would_need_more_rows_stays() -> None:
    def function(x: Any) -> Any:
        def step(carry: Any, t: Any) -> Any:
            a, b = cell(carry[0], t), jnp.cos(carry[1] - t)
            c = jnp.tanh(a)
            return (a, b * c), a * b

        return lax.scan(step, (jnp.ones((3, 4)), jnp.zeros((3, 4))), x)

    bodies = inside(run_and_compare(function, X, rtol=2e-6, symbolic=None))
    assert bodies.count("Mul") == 2
    assert "Tanh" in bodies


def test_large_arrays_are_not_made() -> None:
    """Of a state whose rows would be larger than the limit, and of unknown size where there may be no steps."""
    summed = lambda h, t: (jnp.sin(h + t), (h * 2).sum())  # noqa: E731
    for size, moves in ((3, True), (2**20, False)):
        model = lower(lambda x, size=size: lax.scan(summed, jnp.zeros(size), x)[1], X[:, 0, 0], symbolic=None)
        assert ("ReduceSum" not in inside(model)) == moves

    def both(x: Any) -> Any:
        return lax.scan(lambda h, t: (cell(h, t), jnp.exp(h)), jnp.zeros(x.shape[1:]), x)[1]

    model = run_and_compare(both, X, rtol=2e-6, symbolic="t")
    assert "Exp" not in inside(model)
    model = lower(lambda x: both(jnp.broadcast_to(x[:, 0], (x.shape[0], *x[:, 0].shape))), X)
    assert "Exp" in inside(model)
