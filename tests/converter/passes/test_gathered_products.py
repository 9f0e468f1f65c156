"""Products of gathered rows against JAX: the same, of fewer rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)
NODES, EDGES, WIDTH = 20, 60, 32


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def dense(x: jax.Array, bias: bool = True) -> jax.Array:
    weight = np.random.default_rng(x.shape[1]).standard_normal((x.shape[1], 24)).astype(np.float32)
    return x @ weight + (weight[0] if bias else 0)


def linear(x: jax.Array) -> jax.Array:
    """As Equinox and PyTorch hold weights."""
    weight = np.random.default_rng(1).standard_normal((24, x.shape[1])).astype(np.float32)
    return x @ weight.T + weight[:, 0]


def both_ends(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return dense(jnp.concatenate([x[i], x[j], e], axis=-1))


def edges_around(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return linear(jnp.concatenate([e, e * 2, x[i], e[:, :3], x[j]], axis=-1))


def one_end(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return dense(x[i], bias=False) * dense(x[j])


def short(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return dense(jnp.concatenate([x[:, :8][i], e], axis=-1))


def few(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return dense(x[i[:NODES]])


def seen_twice(x: jax.Array, e: jax.Array, i: jax.Array, j: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The matrix is needed as a whole."""
    return dense(jnp.concatenate([x[i], e], axis=-1)), dense(jnp.concatenate([x, x[:, :5]], axis=-1))


def rows(model: oir.Model) -> set[int]:
    """How many rows products have."""
    found = [node.inputs[0] for node in model.graph if node.op_type in ("Gemm", "MatMul")]
    return {int(value.shape[0]) for value in found if value is not None and value.shape is not None}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (both_ends, {NODES, EDGES}),
        (edges_around, {NODES, EDGES}),
        (one_end, {NODES}),
        (short, {EDGES}),
        (few, {NODES}),
        (seen_twice, {NODES, EDGES}),
    ],
)
def test_rows_are_multiplied_before_they_are_gathered(function: Callable[..., object], expected: set[int]) -> None:
    x, e = normal(NODES, WIDTH), normal(EDGES, 5)
    x[3], x[4, 2], x[5, 7] = np.nan, np.inf, -np.inf
    i, j = rng.integers(-30, 30, (2, EDGES)).astype(np.int32)
    model = run_and_compare(function, x, e, i, j, symbolic=None, rtol=2e-6)
    assert rows(model) == expected
    assert op_types(model).get("Concat", 0) == (
        1 if function in (short, edges_around) else 2 * (function is seen_twice)
    )
