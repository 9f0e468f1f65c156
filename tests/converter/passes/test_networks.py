"""All passes at once, on transformers of drawn sizes, for every target and opset."""

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

from swift_export.converter.opsets import OPSETS, TARGETS

#: Two blocks of products, sums and normalisations in another order.
RTOL = 1e-5


def layer_norm(x: jax.Array) -> jax.Array:
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def linear(x: jax.Array, weight: jax.Array) -> jax.Array:
    return lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ())))


def transformer(seed: int) -> tuple[Callable[[jax.Array], jax.Array], np.ndarray]:
    """Two blocks, each with weights of its own, and an input for them."""
    draw = np.random.default_rng(seed)
    heads, dim, tokens = int(draw.integers(1, 4)), int(draw.integers(2, 6)), int(draw.integers(2, 9))
    width = heads * dim

    def weights() -> dict[str, jax.Array]:
        shapes = {"qkv": (3 * width, width), "proj": (width, width), "up": (2 * width, width),
                  "down": (width, 2 * width), "scale": (width,), "bias": (width,)}  # fmt: skip
        return {name: jnp.asarray(draw.standard_normal(shape, np.float32) / 2) for name, shape in shapes.items()}

    def block(x: jax.Array, w: dict[str, jax.Array]) -> jax.Array:
        batch, tokens, _ = x.shape
        y = layer_norm(x) * w["scale"] + w["bias"]
        q, k, v = (
            a.reshape(batch, tokens, heads, dim).transpose(0, 2, 1, 3)
            for a in lax.split(linear(y, w["qkv"]), (width,) * 3, axis=2)
        )
        attention = jax.nn.softmax(jnp.einsum("bhnd,bhmd->bhnm", q, k) * dim**-0.5, axis=-1)
        y = jnp.einsum("bhnm,bhmd->bhnd", attention, v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
        x = x + linear(y, w["proj"]) + w["bias"]
        y = linear(layer_norm(x) * w["scale"], w["up"])
        return x + linear(0.5 * y * (1 + lax.erf(y * np.float32(0.5**0.5))), w["down"])

    first, second = weights(), weights()
    return lambda x: block(block(x, first), second), draw.standard_normal((2, tokens, width), np.float32)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(3))
def test_random_transformers_keep_their_numbers(seed: int, target: str) -> None:
    function, x = transformer(seed)
    counts = op_types(run_and_compare(function, x, rtol=RTOL, target=target))
    assert counts["LayerNormalization"] == 4
    assert "Split" not in counts
    if target == "portable":
        assert (counts["Softmax"], counts["Gelu"], counts["Gemm"]) == (2, 2, 12)
    else:
        assert counts["MultiHeadAttention"] == 2
        assert "Softmax" not in counts


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_in_every_target(opset: int, target: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 3), np.float32)

    def network(x: jax.Array) -> jax.Array:
        y = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x)) @ layer_norm(x)
        return jax.nn.gelu(y * lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + 1e-5))

    model = run_and_compare(network, x, rtol=RTOL, opset=opset, target=target)
    counts = op_types(model)
    assert counts["LayerNormalization"] == 1
    assert counts.get("MultiHeadAttention", 0) == (target == "onnxruntime")
    assert model.graph.opset_imports[""] == opset
    assert model.ir_version == {23: 11, 24: 12, 25: 13, 26: 13}.get(opset, 10)
    assert counts.get("RMSNormalization", 0) == (1 if opset >= 23 else 0)
    assert ("Gelu" in counts or "BiasGelu" in counts) == (opset >= 20)
