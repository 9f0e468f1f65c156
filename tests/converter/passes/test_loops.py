"""Work that is equal in each step of a loop, and states that nothing reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
from jax import lax

from swift_export.converter.passes.nested import all_nodes, bodies

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3, 4), np.float32)
W = rng.standard_normal((4, 4), np.float32)


def inside(model: oir.Model) -> list[str]:
    return [node.op_type for node in all_nodes(model.graph) if node.graph is not model.graph]


def loops(model: oir.Model) -> list[oir.Node]:
    return [node for node in all_nodes(model.graph) if node.op_type == "Loop"]


def test_work_on_values_from_outside_is_done_once() -> None:
    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        found: jax.Array = lax.scan(lambda h, t: (h + t @ jnp.sin(y).T @ W, None), jnp.zeros((3, 4)), x)[0]
        return found

    model = run_and_compare(function, X, W, rtol=1e-5, symbolic=None)
    assert "Sin" not in inside(model)
    assert "Transpose" not in inside(model)


def test_work_on_values_from_outside_moves_out_of_two_loops() -> None:
    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        step = lambda h, t: (lax.fori_loop(0, 3, lambda i, c: c @ jnp.sin(y) + t @ jnp.cos(y), h), None)  # noqa: E731
        found: jax.Array = lax.scan(step, jnp.zeros((3, 4)), x)[0]
        return found

    model = run_and_compare(function, X, X[0, :1].T @ X[0, :1], rtol=1e-5, symbolic=None)
    assert not {"Sin", "Cos"} & set(inside(model))
    (inner,) = [loop for loop in loops(model) if loop.graph is not model.graph]
    assert [node.op_type for node in bodies(inner)[0]].count("MatMul") == 1


def test_work_in_a_loop_that_never_runs() -> None:
    run_and_compare(
        lambda x, y: lax.scan(lambda h, t: (h + y / y, t), x[0] * 0, x[1:])[0], X[:1], X[0] * 0, symbolic=None
    )


def test_states_that_only_they_read_are_dropped() -> None:
    def function(x: jax.Array) -> jax.Array:
        def step(state: Any, t: jax.Array) -> Any:
            h, key, other = state
            return (jnp.tanh(h + t), jax.random.split(key)[0], other * t), (h, other, t * 2)

        found: jax.Array = lax.scan(step, (jnp.zeros((3, 4)), jax.random.key(0), jnp.ones((3, 4))), x)[1][0]
        return found

    model = run_and_compare(function, X, symbolic=None)
    (loop,) = loops(model)
    assert len(loop.inputs) == 3
    assert len(loop.outputs) == 2
    assert len(inside(model)) <= 6


def test_a_state_that_decides_when_to_stop_is_read() -> None:
    def function(x: jax.Array) -> jax.Array:
        def step(state: Any) -> Any:
            return state[0] * 2, state[1] + state[2], state[2] * 2, state[3] + 1

        found: jax.Array = lax.while_loop(lambda c: c[1].sum() < 50, step, (x, x * 0, x * 0 + 1, x))[0]
        return found

    model = run_and_compare(function, X, symbolic=None)
    (loop,) = loops(model)
    assert len(loop.inputs) == 5


def test_a_loop_of_which_only_rows_are_read_has_no_state() -> None:
    step = lambda h, t: (h + t, lax.cond(t[0, 0] > 0, jnp.sin, jnp.cos, t))  # noqa: E731
    model = run_and_compare(lambda x: lax.scan(step, x[0], x)[1], X, symbolic=None)
    (loop,) = loops(model)
    assert len(loop.outputs) == 1


def test_an_element_that_only_a_step_reads() -> None:
    def function(x: jax.Array) -> Any:
        return lax.scan(lambda h, t: (h + x[0] @ W, h), jnp.zeros((3, 4)), x)

    model = run_and_compare(function, X, rtol=1e-5)
    assert [found.shape for found in run(model, X[:0])] == [(3, 4), (0, 3, 4)]
