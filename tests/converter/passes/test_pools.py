"""MaxPool with nodes around it keeps NaN, infinities and the signs of zeros; the passes see it alone."""

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
from compare import lower, op_types, run, run_and_compare

from swift_export.converter.passes import run_passes
from swift_export.converter.passes.pools import plain_pools

#: Eight channels, which ONNX Runtime pools by kernels of their own.
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((4, 8, 7, 9)).astype(np.float32)
for place, odd in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
    X[DRAW.random(X.shape) < 0.05 + 0.1 * (place > 2)] = odd
X[0, 0], X[1, 1], X[2, 2, :4] = -np.inf, np.nan, 3e38
X[3, :, :5, :5] = DRAW.choice([0.0, -0.0, -1.0], (8, 5, 5))


def pooled(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -np.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), [(0, 0), (0, 0), (1, 1), (1, 1)])


def signs(x: np.ndarray) -> np.ndarray:
    return np.signbit(np.where(np.isnan(x), 0, x))


def exactly(function: Callable[[jax.Array], jax.Array], x: np.ndarray, **options: str) -> dict[str, int]:
    """The ops of a file whose numbers are JAX's own, with the signs of their zeros, with optimisations or without."""
    model, expected = lower(function, x, **options), np.asarray(jax.jit(function)(x))
    for optimized in (False, True):
        (found,) = run(model, x, optimized=optimized)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(signs(found), signs(expected))
    return op_types(model)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_anything_is_pooled_as_by_jax(dtype: str) -> None:
    with jax.enable_x64(True):
        counts = exactly(pooled, X.astype(dtype))
    assert counts["If"] == 1
    assert "Slice" not in counts


def test_sums_of_products_need_no_signs_of_zeros() -> None:
    kernel = jnp.asarray(DRAW.standard_normal((3, 8, 1, 1)), jnp.float32)
    finite = np.nan_to_num(X, nan=2.0, posinf=1.0, neginf=0.0)
    for x in (X, finite):
        model = run_and_compare(lambda x: lax.conv(pooled(x), kernel, (1, 1), "SAME"), x)
    assert op_types(model) == {"ReduceSum": 1, "Greater": 1, "If": 1, "Conv": 1}
    assert "Reciprocal" not in str([node.attributes for node in model.graph if node.op_type == "If"])


BOUNDED: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "a larger bound": lambda x: jnp.maximum(x, 0.25),
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "another layout": lambda x: jnp.moveaxis(jnp.abs(jnp.moveaxis(x, 1, 3)), 3, 1),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_averages_tell_nan_among_numbers_with_a_least_one(name: str) -> None:
    kernel = jnp.asarray(DRAW.standard_normal((3, 8, 1, 1)), jnp.float32)
    model = run_and_compare(lambda x: lax.conv(pooled(BOUNDED[name](x)), kernel, (1, 1), "SAME"), X)
    counts = op_types(model)
    assert (counts["MaxPool"], counts["AveragePool"], counts["Min"]) == (1, 1, 1)
    assert "If" not in counts


@pytest.mark.parametrize("channels", [16, 20])
def test_convolutions_tell_nan_where_channels_stay_in_blocks(channels: int) -> None:
    """Among numbers and infinities, at each place of a window."""
    x = np.concatenate([X, X[:, ::-1], X], 1)[:, :channels]
    compared = lambda y: jnp.where(y > 0.25, 2.0, jnp.where(y <= 0.25, 1.0, 0.0))  # noqa: E731
    for function in (lambda x: pooled(jnp.abs(x)), lambda x: compared(pooled(jnp.maximum(x, -1)))):
        counts = exactly(function, x, target="onnxruntime")
        assert (counts["MaxPool"], counts["Conv"], counts.get("AveragePool", 0)) == (1, 2, 0)


def test_a_relu_gives_no_negative_zeros() -> None:
    assert "If" not in exactly(lambda x: pooled(jnp.maximum(x, 0)), X)


@pytest.mark.parametrize(("bounded", "target"), [(False, "portable"), (True, "portable"), (True, "onnxruntime")])
def test_passes_that_run_again_change_nothing(bounded: bool, target: str) -> None:
    model = lower(lambda x: pooled(jnp.abs(x) if bounded else x), np.concatenate([X, X], 1), target=target)
    counts = op_types(model)
    run_passes(model, target=target)
    assert op_types(model) == counts
    assert plain_pools(model.graph) == 1
    assert model.graph.outputs[0].producer().op_type == "MaxPool"
