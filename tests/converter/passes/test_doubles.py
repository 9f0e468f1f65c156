"""float64 stays float64 in ONNX Runtime, which fuses numbers of float32 when it optimises."""

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
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 4))
W = rng.standard_normal((4, 4))


def swap(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, 1, 2)


def attention(x: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x) * 0.3) @ x


def normalized(x: jax.Array) -> jax.Array:
    centred = (x - x.mean(-1, keepdims=True)) * 1e-3
    return centred / jnp.sqrt(jnp.power(centred, 2.0).mean(-1, keepdims=True) + 1e-6)


FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": jax.nn.gelu,
    "after a product": lambda x: (x @ W) * 0.3,
    "over a quotient": lambda x: (x @ W) / 0.3,
    "before a product": lambda x: (0.3 * x) @ W,
    "around a product": lambda x: ((x * 0.3) @ swap(x * 0.7)) * 0.1,
    "two after a product": lambda x: ((x @ W) * 2) * 0.3,
    "a computed factor": lambda x: (x @ W) * (x.shape[0] * 0.3),
    "before a transposition": lambda x: swap(x * 0.3) @ x,
    "between transpositions": lambda x: swap(swap(x @ W) * 0.3) + 1,
    "attention": attention,
    "a normalization": normalized,
    "in a loop": lambda x: lax.fori_loop(0, 3, lambda i, v: (v @ (W * 0.3)) * 0.7, x),
}


@pytest.mark.parametrize("target", ["portable", "onnxruntime"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_digits_of_float64_stay(name: str, target: str) -> None:
    with jax.enable_x64(True):
        model = run_and_compare(FUNCTIONS[name], X, rtol=1e-14, target=target)
    assert "Gelu" not in op_types(model)


def test_float32_is_left_to_the_runtime() -> None:
    model = run_and_compare(lambda x: (x @ W.astype(np.float32)) * 0.3, X.astype(np.float32), rtol=1e-5)
    assert op_types(model) == {"MatMul": 1, "Mul": 1}
