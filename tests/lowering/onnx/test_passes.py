"""Fusions: what they find, what they must not find, and that the numbers stay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 5, 6), np.float32) * 3 + 1
W = rng.standard_normal(6, np.float32)
B = rng.standard_normal(6, np.float32)


def compare(function: Callable[..., object], *arrays: np.ndarray, rtol: float = 2e-6) -> oir.Model:
    """Fused and unfused, both against JAX."""
    run_and_compare(function, *arrays, rtol=rtol, fuse=False)
    return run_and_compare(function, *arrays, rtol=rtol)


def layer_norm(x: jax.Array, axes: object = -1, epsilon: float = 1e-5) -> jax.Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3, 1e-12])
def test_layer_normalization_keeps_its_epsilon(epsilon: float) -> None:
    model = compare(lambda x: layer_norm(x, epsilon=epsilon) * W + B, X)
    assert op_types(model) == {"LayerNormalization": 1}
    (node,) = model.graph
    assert node.attributes["epsilon"].as_float() == np.float32(epsilon)
    assert node.attributes["axis"].as_int() == -1


VARIATIONS = {
    "operands swapped": lambda x: B + W * layer_norm(x),
    "divided by the root": lambda x: (
        (
            (x - x.mean(-1, keepdims=True))
            / jnp.sqrt(jnp.square(x - x.mean(-1, keepdims=True)).mean(-1, keepdims=True) + 1e-5)
        )
        * W
        + B
    ),
    "no bias": lambda x: layer_norm(x) * W,
    "neither scale nor bias": layer_norm,
    "two axes": lambda x: layer_norm(x, (-2, -1)),
    "two axes, scaled": lambda x: layer_norm(x, (2, 3)) * jnp.stack([W] * 5) + jnp.stack([B] * 5),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_layer_normalization_in_other_spellings(name: str) -> None:
    assert op_types(compare(VARIATIONS[name], X))["LayerNormalization"] == 1


OTHERS = {
    "first axis": lambda x: layer_norm(x, 1) * W + B,
    "mean of something else": lambda x: (
        (x - (x * 2).mean(-1, keepdims=True)) * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5)
    ),
    "root mean square": lambda x: x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * W,
    "unbiased variance": lambda x: (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_layer_normalization_stays(name: str) -> None:
    assert "LayerNormalization" not in op_types(compare(OTHERS[name], X, rtol=1e-5))


def test_a_scale_of_another_shape_is_not_taken_in() -> None:
    scale = rng.standard_normal((5, 6), np.float32)
    model = compare(lambda x: layer_norm(x) * scale, X)
    assert op_types(model) == {"LayerNormalization": 1, "Mul": 1}


def test_a_normalised_value_that_is_used_twice_is_kept() -> None:
    model = compare(lambda x: (layer_norm(x) * W, jnp.tanh(layer_norm(x))), X)
    assert op_types(model)["LayerNormalization"] == 1


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_softmax(axis: int) -> None:
    model = compare(lambda x: jax.nn.softmax(x * 20, axis=axis), X)
    assert op_types(model) == {"Mul": 1, "Softmax": 1}


def test_softmax_over_two_axes_stays() -> None:
    assert "Softmax" not in op_types(compare(lambda x: jax.nn.softmax(x, axis=(1, 2)), X))


def test_quotients_that_look_like_softmax_stay() -> None:
    def other_maximum(x: jax.Array) -> jax.Array:
        e = jnp.exp(x - jnp.max(x, -2, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def other_sum(x: jax.Array) -> jax.Array:
        e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
        return e / (e * 2).sum(-1, keepdims=True)

    for function in (other_maximum, other_sum):
        assert "Softmax" not in op_types(compare(function, X))


GELUS = {
    "half first": lambda x: 0.5 * x * (1 + lax.erf(x * np.float32(0.5**0.5))),
    "half last": lambda x: x * (1 + lax.erf(x / np.float32(2**0.5))) * 0.5,
    "half on the sum": lambda x: x * (0.5 * (lax.erf(np.float32(0.5**0.5) * x) + 1)),
    "of a product": lambda x: (lambda y: 0.5 * y * (1 + lax.erf(y * np.float32(0.5**0.5))))(x * W),
}


@pytest.mark.parametrize("name", GELUS)
def test_gelu(name: str) -> None:
    assert op_types(compare(GELUS[name], X))["Gelu"] == 1


NO_GELUS = {
    "other factor": lambda x: 0.4 * x * (1 + lax.erf(x * np.float32(0.5**0.5))),
    "other scale": lambda x: 0.5 * x * (1 + lax.erf(x * np.float32(0.7))),
    "other argument": lambda x: 0.5 * x * (1 + lax.erf((x + 1) * np.float32(0.5**0.5))),
    "minus": lambda x: 0.5 * x * (1 - lax.erf(x * np.float32(0.5**0.5))),
}


@pytest.mark.parametrize("name", NO_GELUS)
def test_what_is_no_gelu_stays(name: str) -> None:
    assert "Gelu" not in op_types(compare(NO_GELUS[name], X))


def test_gelu_needs_its_opset() -> None:
    model = run_and_compare(GELUS["half first"], X, rtol=2e-6, opset=19)
    assert "Gelu" not in op_types(model)


WEIGHT = rng.standard_normal((7, 6), np.float32)
BIAS = rng.standard_normal(7, np.float32)


def linear(x: jax.Array, weight: np.ndarray = WEIGHT) -> jax.Array:
    return lax.dot_general(x, jnp.asarray(weight), (((x.ndim - 1,), (1,)), ((), ())))


def test_gemm_takes_weight_and_bias_as_they_are_stored() -> None:
    model = compare(lambda x: linear(x) + BIAS, X, rtol=1e-5)
    assert op_types(model) == {"Reshape": 2, "Gemm": 1}
    stored = [v.const_value.numpy() for v in model.graph.initializers.values()]
    assert any(np.array_equal(a, WEIGHT) for a in stored)
    assert any(np.array_equal(a, BIAS) for a in stored)


def test_linear_layers_in_a_row_share_their_rows() -> None:
    second = rng.standard_normal((6, 7), np.float32)
    model = compare(lambda x: linear(jnp.tanh(linear(x) + BIAS), second) + B, X, rtol=1e-5)
    assert op_types(model) == {"Reshape": 2, "Gemm": 2, "Tanh": 1}


def test_what_is_no_bias_is_added_outside() -> None:
    column = rng.standard_normal((5, 1), np.float32)
    model = compare(lambda x: linear(x) + column, X, rtol=1e-5)
    assert op_types(model) == {"Reshape": 2, "Gemm": 1, "Add": 1}


def test_a_product_that_is_an_output_keeps_its_name() -> None:
    model = lower(linear, X, result_names=["y"])
    assert [v.name for v in model.graph.outputs] == ["y"]
    np.testing.assert_allclose(run(model, X)[0], X @ WEIGHT.T, rtol=1e-5, atol=1e-5)


def test_transposes_and_reshapes_in_a_row_merge() -> None:
    def function(x: jax.Array) -> jax.Array:
        x = x.transpose(0, 2, 1, 3).transpose(0, 3, 2, 1)
        return (
            x.transpose(0, 2, 3, 1).transpose(0, 1, 2, 3).reshape(-1, 30).reshape(-1, 2, 3, 5).reshape(-1, 4, 5, 6) + 1
        )

    assert op_types(compare(function, X)) == {"Add": 1}


def test_slices_that_cover_an_axis_become_a_split() -> None:
    assert op_types(compare(lambda x: lax.split(x, (1, 2, 3), axis=3)[1:], X)) == {"Slice": 2}
    parts = compare(lambda x: sum(p.sum(3) * i for i, p in enumerate(lax.split(x, (1, 2, 3), axis=3))), X, rtol=1e-5)
    assert op_types(parts)["Split"] == 1


def test_slices_that_overlap_or_leave_gaps_stay() -> None:
    part = lax.slice_in_dim
    overlapping = compare(lambda x: part(x, 0, 4, axis=3).sum(3) - part(x, 3, 6, axis=3).sum(3), X, rtol=1e-5)
    gap = compare(lambda x: part(x, 0, 2, axis=3).sum(3) - part(x, 3, 6, axis=3).sum(3), X, rtol=1e-5)
    assert "Split" not in op_types(overlapping) | op_types(gap)


def test_means_are_means_of_what_was_summed() -> None:
    assert op_types(compare(lambda x: x.mean(3) + 1, X)) == {"ReduceMean": 1, "Add": 1}
    assert "ReduceMean" not in op_types(compare(lambda x: x.sum(3) / 5, X))
    # The number of clips is unknown: a mean over them is a sum and a quotient.
    assert "ReduceMean" not in op_types(compare(lambda x: x.mean((0, 3)), X))


def test_neutral_elements_go() -> None:
    model = compare(lambda x: jnp.maximum(x * 1.0, -jnp.inf) + 0, X)
    assert "Max" not in op_types(model)
    assert "Mul" not in op_types(model)
    assert op_types(compare(lambda x: jnp.maximum(x, 0) * 2, X)) == {"Max": 1, "Mul": 1}


def test_random_networks_keep_their_numbers() -> None:
    """All fusions at once, on transformers of seeded random sizes."""
    for seed in range(5):
        draw = np.random.default_rng(seed)
        heads, dim, tokens = int(draw.integers(1, 4)), int(draw.integers(2, 6)), int(draw.integers(2, 9))
        width = heads * dim
        w = {k: draw.standard_normal(s, np.float32) / 2 for k, s in
             {"qkv": (3 * width, width), "proj": (width, width), "up": (2 * width, width), "down": (width, 2 * width),
              "scale": (width,), "bias": (width,)}.items()}  # fmt: skip

        def block(x: jax.Array, w: dict[str, np.ndarray] = w, heads: int = heads, dim: int = dim) -> jax.Array:
            batch, tokens, width = x.shape
            y = layer_norm(x) * w["scale"] + w["bias"]
            q, k, v = (
                a.reshape(batch, tokens, heads, dim).transpose(0, 2, 1, 3)
                for a in lax.split(linear(y, w["qkv"]), (width,) * 3, axis=2)
            )
            attention = jax.nn.softmax(jnp.einsum("bhnd,bhmd->bhnm", q, k) * dim**-0.5, axis=-1)
            y = jnp.einsum("bhnm,bhmd->bhnd", attention, v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
            x = x + linear(y, w["proj"]) + w["bias"]
            return x + linear(GELUS["half first"](linear(layer_norm(x) * w["scale"], w["up"])), w["down"])

        example = draw.standard_normal((2, tokens, width), np.float32)
        counts = op_types(compare(lambda x, block=block: block(block(x)), example, rtol=1e-5))
        assert (counts["LayerNormalization"], counts["Softmax"], counts["Gelu"], counts["Gemm"]) == (4, 2, 2, 8)
