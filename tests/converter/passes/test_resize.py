"""Nearest upsampling by whole factors becomes one Resize, bit for bit; other gathers get constant indices."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
X[0, 0, 0, :3] = np.nan, np.inf, -0.0


def resized(x: jax.Array, *sizes: int) -> jax.Array:
    return jax.image.resize(x, (x.shape[0], *sizes), "nearest")


def test_whole_factors() -> None:
    assert op_types(run_and_compare(lambda x: resized(x, 3, 8, 20), X, rtol=0)) == {"Resize": 1}
    assert op_types(run_and_compare(lambda x: resized(x[:, :, 0], 3, 40), X, rtol=0))["Resize"] == 1


def test_volumes_are_gathered() -> None:
    volumes = np.concatenate([X[..., None]] * 2, axis=-1)
    assert op_types(run_and_compare(lambda x: resized(x, 3, 8, 10, 4), volumes, rtol=0)) == {"Gather": 3}


def test_channels_last_between_convolutions() -> None:
    kernel = jnp.asarray(np.random.default_rng(1).standard_normal((1, 1, 5, 5)), jnp.float32)

    def conv(x: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    x = np.nan_to_num(X, posinf=1.0)
    counts = op_types(run_and_compare(lambda x: conv(resized(conv(x), 6, 8, 5)), x, rtol=2e-6))
    assert counts == {"Transpose": 2, "Conv": 2, "Resize": 1}


def test_other_sizes_and_axes_are_gathered() -> None:
    counts = op_types(
        run_and_compare(lambda x: [resized(x, 3, 7, 3), resized(x, 6, 4, 5), resized(x, 3, 12, 5)], X, rtol=0)
    )
    assert counts == {"Gather": 4}


def places(count: int, size: int, align: float = 0.0) -> jax.Array:
    """Where `count` elements of an axis of this size are read, as torchax computes it: when the program runs."""
    return jnp.maximum((lax.iota(jnp.float32, count) + align) * (size / count) - align, 0)


def test_grids_of_computed_places_are_read_by_axis() -> None:
    """torchax takes elements by rows and columns together, for PyTorch's nearest and linear interpolation."""

    def nearest(x: jax.Array, height: int, width: int) -> jax.Array:
        rows, columns = (places(*n).astype(jnp.int32) for n in ((height, x.shape[2]), (width, x.shape[3])))
        return x[:, :, rows[:, None], columns]

    def linear(x: jax.Array) -> jax.Array:
        y, z = places(7, 4, 0.5), places(9, 5, 0.5)
        top, left = (jnp.floor(p).astype(jnp.int32) for p in (y, z))
        below, right = jnp.minimum(top + 1, 3), jnp.minimum(left + 1, 4)
        u, v = (y - top)[:, None], z - left
        upper, lower = (x[:, :, r[:, None], left] * (1 - v) + x[:, :, r[:, None], right] * v for r in (top, below))
        return upper + (lower - upper) * u

    assert op_types(run_and_compare(lambda x: nearest(x, 8, 10), X, rtol=0)) == {"Resize": 1}
    assert op_types(run_and_compare(lambda x: nearest(x, 7, 3), X, rtol=0)) == {"Gather": 2}
    assert op_types(run_and_compare(lambda x: nearest(x, 4, 3), X, rtol=0)) == {"Gather": 1}
    counts = op_types(run_and_compare(linear, np.nan_to_num(X, posinf=1.0), rtol=1e-6))
    assert counts == {"Gather": 6, "Mul": 5, "Add": 3, "Sub": 1}


def test_other_grids_are_read_by_one_index() -> None:
    rows, columns = np.array([[0, 1], [3, 2]]), np.array([[0, 4], [4, 1]])
    counts = op_types(run_and_compare(lambda x: x[:, :, lax.iota(jnp.int32, 2)[:, None] + rows, columns], X, rtol=0))
    assert counts == {"Reshape": 1, "Gather": 1}
