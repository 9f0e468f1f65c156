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
