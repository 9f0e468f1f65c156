"""Means over all but the batch and channels, or groups of these, become InstanceNormalization; near misses stay."""

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

#: Means of squares less the square of the mean, as JAX computes them here.
RTOL = 5e-6
X = np.random.default_rng(0).standard_normal((2, 4, 5, 6), np.float32) + np.float32(0.1)
SCALE = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6)), jnp.float32)

Norm = Callable[[jax.Array], jax.Array]


def by_groups(x: jax.Array, groups: int = 2, *, repeat: Norm | None = None) -> jax.Array:
    """As Flax writes it: statistics of groups, repeated for each channel."""
    each = x.shape[-1] // groups
    cut = x.reshape(*x.shape[:-1], groups, each)
    axes = (*range(1, x.ndim - 1), x.ndim)
    mean, square = cut.mean(axes), (cut * cut).mean(axes)
    variance = jnp.maximum(0.0, square - mean * mean)
    repeat = repeat or (lambda m: jnp.repeat(m, each, axis=1))
    shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
    y = x - repeat(mean).reshape(shape)
    return y * (lax.rsqrt(repeat(variance).reshape(shape) + 1e-5) * SCALE[0]) + SCALE[1]


def by_axes(x: jax.Array, axes: tuple[int, ...], spread: tuple[int, ...] | None = None) -> jax.Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred / jnp.sqrt((centred * centred).mean(spread or axes, keepdims=True) + 1e-3)


def five_axes(x: jax.Array) -> jax.Array:
    """As Haiku writes it: groups as an axis of the array."""
    return by_axes(x.reshape(*x.shape[:-1], 3, 2), (1, 2, 4)).reshape(x.shape)


NORMS: dict[str, Norm] = {
    "groups": lambda x: by_groups(x) * 1.0,
    "a group for each channel": lambda x: by_groups(x, 6),
    "one group": lambda x: by_groups(x, 1),
    "groups of rows": lambda x: by_groups(x.reshape(x.shape[0], 20, 6), 3),
    "channels last": lambda x: by_axes(x, (1, 2)),
    "channels second": lambda x: jnp.tanh(by_axes(jnp.tanh(x.transpose(0, 3, 1, 2)), (2, 3))),
    "five axes": five_axes,
}
OTHERS: dict[str, Norm] = {
    "channels in another order": lambda x: by_groups(x, 3, repeat=lambda m: jnp.tile(m, (1, 2))),
    "a variance over other axes": lambda x: by_axes(x, (1, 2), (1,)),
    "over the batch": lambda x: by_axes(x, (0, 1, 2)),
    "two axes kept": lambda x: by_axes(x, (1,)),
}


@pytest.mark.parametrize("name", [*NORMS, *OTHERS])
def test_norms(name: str) -> None:
    norm = NORMS.get(name) or OTHERS[name]
    symbolic = None if name == "over the batch" else "b"
    counts = op_types(run_and_compare(norm, X, rtol=RTOL, symbolic=symbolic))
    one = counts.get("InstanceNormalization", 0) + counts.get("LayerNormalization", 0)
    assert one == (name in NORMS)
    assert ("Sqrt" in counts) == (name in OTHERS)


def test_nan_and_infinities() -> None:
    x = X.copy()
    x[0, 0, 0, 0], x[1, 1, 1, 3] = np.nan, np.inf
    run_and_compare(by_groups, x, rtol=RTOL)


def test_between_convolutions_the_layout_is_theirs() -> None:
    kernel = jnp.asarray(np.random.default_rng(2).standard_normal((1, 1, 6, 6)), jnp.float32)

    def network(x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = jnp.tanh(by_groups(lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))))  # fmt: skip
        return x

    counts = op_types(run_and_compare(network, X, rtol=2e-5))
    assert (counts["Transpose"], counts["InstanceNormalization"], counts["Reshape"]) == (2, 2, 4)


def test_means_over_a_batch_of_one() -> None:
    """PyTorch's InstanceNorm is a BatchNorm of one element, whose channels are those of all."""

    def norm(x: jax.Array) -> jax.Array:
        centred = x - x.mean((0, 2, 3), keepdims=True)
        return centred * lax.rsqrt((centred * centred).mean((0, 2, 3), keepdims=True) + 1e-5)

    model = run_and_compare(lambda x: norm(x.reshape(1, 8, 5, 6)).reshape(x.shape), X, rtol=RTOL, symbolic=None)
    assert op_types(model) == {"Reshape": 2, "InstanceNormalization": 1}
