"""Windows over the (h, w, d, t) grid of tokens: padding, cyclic shift, partition and their inverses.

After Liu et al., arXiv:2103.14030, in four dimensions as in SwiFT, arXiv:2307.05916.
"""

from __future__ import annotations

from itertools import chain

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from swift_export.models.swift.config import MASK_VALUE, WindowPlan

__all__ = [
    "FLOAT32",
    "attention_mask",
    "crop_grid",
    "merge_windows",
    "pad_grid",
    "region_mask",
    "split_windows",
    "window_regions",
    "window_tokens",
]

FLOAT32 = jnp.dtype(jnp.float32)


def split_windows(
    x: Float[Array, "batch h w d t channels"], plan: WindowPlan
) -> Float[Array, "batch windows tokens channels"]:
    """Pad the end of every axis with zeros, shift back cyclically and split into windows."""
    x = pad_grid(x, plan)
    for axis, shift in enumerate(plan.shift, start=1):
        x = _roll(x, shift, axis)
    batch, channels = x.shape[0], x.shape[-1]
    x = x.reshape(batch, *_interleave(plan), channels)
    x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6, 8, 9)
    return x.reshape(batch, -1, plan.tokens, channels)


def merge_windows(
    x: Float[Array, "batch windows tokens channels"], plan: WindowPlan
) -> Float[Array, "batch h w d t channels"]:
    """The inverse of ``split_windows``; padding is cropped."""
    batch, channels = x.shape[0], x.shape[-1]
    x = x.reshape(batch, *plan.counts, *plan.window, channels)
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4, 8, 9)
    x = x.reshape(batch, *plan.padded, channels)
    for axis, shift in enumerate(plan.shift, start=1):
        x = _roll(x, plan.padded[axis - 1] - shift if shift else 0, axis)
    return crop_grid(x, plan)


def pad_grid(x: Float[Array, "batch h w d t channels"], plan: WindowPlan) -> Float[Array, "batch H W D T channels"]:
    """Add zeros at the end of every axis up to a multiple of the window."""
    if plan.padded == plan.grid:
        return x
    ends = [(0, p - n, 0) for p, n in zip(plan.padded, plan.grid, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])


def crop_grid(x: Float[Array, "batch H W D T channels"], plan: WindowPlan) -> Float[Array, "batch h w d t channels"]:
    """The inverse of ``pad_grid``."""
    for axis, (n, p) in enumerate(zip(plan.grid, plan.padded, strict=True), start=1):
        if n != p:
            x = lax.slice_in_dim(x, 0, n, axis=axis)
    return x


def window_tokens(plan: WindowPlan) -> Int[np.ndarray, "windows tokens"]:
    """Index of the tokens of each window on the padded grid before the shift, in C order."""
    numbers = np.arange(np.prod(plan.padded), dtype=np.int32).reshape(plan.padded)
    return _cut(np.roll(numbers, [-shift for shift in plan.shift], (0, 1, 2, 3)), plan)


def window_regions(plan: WindowPlan) -> Int[np.ndarray, "windows tokens"]:
    """Region number of each token of each window, on the padded and shifted grid.

    Regions of an axis of n tokens are [0, n-window), [n-window, n-shift) and [n-shift, n); a single region if shift is
    0.
    """
    regions = np.zeros(plan.padded, np.int32)
    for axis, (n, window, shift) in enumerate(zip(plan.padded, plan.window, plan.shift, strict=True)):
        bounds = (n - window, n - shift) if shift else ()
        region = np.searchsorted(bounds, np.arange(n), side="right").astype(np.int32)
        regions = regions * 3 + np.expand_dims(region, [a for a in range(4) if a != axis])
    return _cut(regions, plan)


def attention_mask(plan: WindowPlan, dtype: jnp.dtype = FLOAT32) -> Float[Array, "windows 1 tokens tokens"] | None:
    """The addend to the scores of a shifted block: -100 for tokens from different regions, otherwise 0.

    The lowered program computes it from the regions. As a constant it would be larger than all weights (84 MB in the
    first stage of the published models).
    """
    if not plan.shifted:
        return None
    return region_mask(window_regions(plan), dtype)


def region_mask(
    regions: Int[np.ndarray, "windows tokens"], dtype: jnp.dtype
) -> Float[Array, "windows 1 tokens tokens"]:
    """-100 for every pair of tokens of a window from different regions, otherwise 0."""
    numbers = jnp.asarray(regions)
    same = numbers[:, None, :, None] == numbers[:, None, None, :]
    return lax.select(same, jnp.zeros(same.shape, dtype), jnp.full(same.shape, MASK_VALUE, dtype))


def _cut(grid: Int[np.ndarray, "H W D T"], plan: WindowPlan) -> Int[np.ndarray, "windows tokens"]:
    return grid.reshape(_interleave(plan)).transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, plan.tokens)


def _interleave(plan: WindowPlan) -> list[int]:
    return list(chain.from_iterable(zip(plan.counts, plan.window, strict=True)))


def _roll(x: Float[Array, "*grid"], shift: int, axis: int) -> Float[Array, "*grid"]:
    """Move every element ``shift`` places towards the front of ``axis``, cyclically."""
    if shift == 0:
        return x
    head = lax.slice_in_dim(x, 0, shift, axis=axis)
    tail = lax.slice_in_dim(x, shift, x.shape[axis], axis=axis)
    return lax.concatenate([tail, head], axis)
