"""Work of a loop's steps that needs no other steps: one op for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest
from jax import lax

from swift_export.converter.passes.nested import all_nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3, 4), np.float32)
W = rng.standard_normal((4, 6), np.float32)
B = rng.standard_normal(6, np.float32)
ROWS = rng.standard_normal((3, 4), np.float32)
LONG = rng.standard_normal((2, 9), np.float32)
PLACES = np.array([[2, 0], [1, 1], [0, 2]])


def inside(model: oir.Model) -> list[str]:
    """The ops of all bodies."""
    return [node.op_type for node in all_nodes(model.graph) if node.graph is not model.graph]


#: A step's work, by the ops that it becomes.
WORK: dict[str, Callable[[Any, Any], Any]] = {
    "sums of operands of fewer axes": lambda t, i: t + t[0] * i + t[1, 2] + ROWS + B[:4],
    "choices and types": lambda t, i: jnp.where(t > i, jnp.exp(t), (t * 3).astype(jnp.int32)),
    "products with a matrix": lambda t, i: (t @ W + B, t[0] @ W, jnp.tanh(t) @ jnp.ones((4, 2))),
    "products of rows": lambda t, i: (t @ t.T, t @ ROWS.T, t.T @ t[:, :2], t[0] @ t[1]),
    "reductions": lambda t, i: (t.sum(0), t.max(-1), t.mean(), t.prod(-1, keepdims=True), jnp.argmax(t, 1)),
    "norms": lambda t, i: (jax.nn.softmax(t, 0), jax.nn.standardize(t, -1), jnp.cumsum(t, 1)),
    "moves": lambda t, i: (t.T, t.reshape(2, 6), t[:, ::-1][1:], t[..., None, 1:3], jnp.pad(t, ((1, 0), (0, 2)))),
    "parts and wholes": lambda t, i: (jnp.concatenate([t, ROWS], 1), jnp.tile(t[:1], (2, 1)), *jnp.split(t, 2, 1)),
    "elements": lambda t, i: (t[PLACES[:, 0], PLACES[:, 1]], t[:, np.array([3, 0])], jnp.asarray(ROWS)[i % 3]),
    "windows": lambda t, i: lax.dynamic_slice(jnp.asarray(LONG), (0, i), (2, 3)) * t[:2, :3],
}


def test_maps_become_ops_on_all_steps() -> None:
    """Backwards for a known number of steps, forwards for an unknown one, also none."""

    def mapped(x: Any, reverse: bool = False) -> Any:
        step = lambda i, t: (i + 1, {name: work(t, i) for name, work in WORK.items()})  # noqa: E731
        return lax.scan(step, 2, x, reverse=reverse)[1]

    models = lower(lambda x: mapped(x, reverse=True), X, symbolic=None), lower(mapped, X, symbolic="t")
    expected = jax.jit(mapped)
    for model, reverse, lengths in zip(models, (True, False), ((5,), (5, 0)), strict=True):
        assert "Loop" not in op_types(model)
        turn = -1 if reverse else 1
        wanted = jax.tree.leaves_with_path(expected(X[::turn]))
        for length in lengths:
            for found, (path, rows) in zip(run(model, X[:length], optimized=True), wanted, strict=True):
                ordered = np.asarray(rows)[::turn][:length]
                np.testing.assert_allclose(found, ordered, rtol=2e-6, atol=2e-6, err_msg=str(path))


@pytest.mark.parametrize("reverse", [False, True])
def test_what_needs_no_other_steps_is_done_in_front_of_the_loop(reverse: bool) -> None:
    def function(x: Any) -> Any:
        def step(h: Any, t: Any) -> Any:
            a, b = jnp.split(jnp.tanh(t @ W + B), 2, -1)
            h = jnp.sin(h * a[:, :1] + b[:, 1:2])
            return h, (h, jnp.exp(t))

        return lax.scan(step, jnp.ones((3, 4)), x, reverse=reverse)

    model = run_and_compare(function, X, rtol=2e-6, symbolic=None)
    assert not {"MatMul", "Gemm", "Tanh", "Exp"} & set(inside(model))
    assert inside(model).count("Gather") <= 2


def test_large_arrays_are_not_made() -> None:
    """Of a number, or of unknown size."""
    outer = lambda x: lax.map(lambda t: (t[:, None] * t).sum(), x)  # noqa: E731
    for size, moves in ((100, True), (400, False)):
        for symbolic in (None, "t"):
            model = lower(outer, np.zeros((40, size), np.float32), symbolic=symbolic)
            assert ("Loop" not in op_types(model)) == (moves and symbolic is None)


def test_steps_that_may_end_early_stay() -> None:
    def function(x: Any) -> Any:
        return lax.while_loop(
            lambda c: (c[0] < 5) & (c[1].sum() < 9), lambda c: (c[0] + 1, c[1] + jnp.exp(x[c[0]])), (0, x[0])
        )

    assert "Exp" in inside(run_and_compare(function, X, rtol=2e-6, symbolic=None))
