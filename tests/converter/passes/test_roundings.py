"""Chains of ops on 16-bit floats keep float32 in between, but for what the program rounds and what sees a rounding."""

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

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run

rng = np.random.default_rng(0)
X = rng.standard_normal((6, 8), np.float32)
W = {name: rng.standard_normal(shape, np.float32) / 3 for name, shape in {"a": (8, 24), "b": (8,), "c": (8, 8)}.items()}


def block(x: jax.Array, w: dict[str, jax.Array]) -> jax.Array:
    """Attention, a bias, an activation and a gate, with heads split and merged."""
    q, k, v = (jnp.moveaxis(t.reshape(-1, 2, 4), 1, 0) for t in jnp.split(x @ w["a"], 3, -1))
    y = jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2) * 0.5) @ v
    y = jnp.concatenate([y[0], y[1]], -1) @ w["c"] + w["b"]
    return x + jax.nn.gelu(y) + jax.nn.silu(y) * x


def error(found: Any, exact: Any) -> float:
    difference = np.asarray(found, np.float64) - np.asarray(exact, np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(exact))


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_a_block_is_closer_to_float32_than_jax_and_has_one_cast_per_weight(kind: Any) -> None:
    short = {name: jnp.asarray(w, kind) for name, w in W.items()}
    x = X.astype(kind).astype(np.float32)
    model = lower(lambda x: block(x.astype(kind), short).astype(jnp.float32), x, symbolic=None)
    counts = op_types(model)
    assert (counts["Softmax"], counts["Gelu"], counts["Sigmoid"]) == (1, 1, 1)
    # Around the block two or four, and one of each matrix unless the runtime converts it.
    assert counts["Cast"] <= (2 if kind == jnp.float16 else 6)
    stored = {v.dtype for v in model.graph.initializers.values() if v.shape is not None and len(v.shape) == 2}
    assert stored == {oir.DataType.FLOAT16 if kind == jnp.float16 else oir.DataType.BFLOAT16}
    exact = block(jnp.asarray(x), {name: w.astype(jnp.float32) for name, w in short.items()})
    with jax.disable_jit():
        own = error(block(jnp.asarray(x, kind), short), exact)
    for optimized in (False, True):
        assert error(run(model, x, optimized=optimized)[0], exact) <= own


def largest(x: jax.Array) -> jax.Array:
    y = x * x
    return jnp.where(y == y.max(1, keepdims=True), 1, 0)


#: What sees a rounding; each gives the numbers of op by op.
SEEN: dict[str, Callable[[jax.Array], jax.Array]] = {
    "which is the largest": largest,
    "its place": lambda x: jnp.argmax(x * x, 1),
    "as a whole number": lambda x: (x * x * 8).astype(jnp.int32),
    "rounded down": lambda x: jnp.floor(x * x * 8).astype(jnp.float32),
    "a limit": lambda x: (jnp.reshape(x * x, (-1,)) > 0.5) & (jnp.reshape(x * x, (-1,)) < 1.5),
    "a result": lambda x: (x * x).astype(jnp.float32),
    "the program's own": lambda x: (x.astype(jnp.float32) / 3).astype(jnp.bfloat16).astype(jnp.float32) * 3,
}


def test_what_is_seen_stays_rounded() -> None:
    x = np.array([[1.0078125, 1.0, 0.7109375, 1.22], [1.0, 1.00390625, -1.0078125, 0.5]], np.float32)
    model = lower(lambda x: [f(x.astype(jnp.bfloat16)) for f in SEEN.values()], x, symbolic=None)
    with jax.disable_jit():
        wanted = [np.asarray(f(jnp.asarray(x, jnp.bfloat16))) for f in SEEN.values()]
    for optimized in (False, True):
        for name, found, expected in zip(SEEN, run(model, x, optimized=optimized), wanted, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=name)
