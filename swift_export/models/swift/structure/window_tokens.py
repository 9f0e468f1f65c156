"""The tokens of a block's windows, implemented a second time, in NumPy and by the papers' wording.

This is independent of the backbone, except for the effective windows and shifts.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int

from swift_export.models.swift.config import MASK_VALUE, WindowPlan

__all__ = ["expected_mask", "expected_regions", "expected_tokens"]


def expected_tokens(plan: WindowPlan) -> Int[np.ndarray, "windows tokens"]:
    """The grid's token at every place of every window, numbered from 1 in C order; 0 for padding."""
    numbered = np.arange(1, 1 + np.prod(plan.grid)).reshape(plan.grid)
    padded = np.pad(numbered, [(0, p - n) for p, n in zip(plan.padded, plan.grid, strict=True)])
    return _partition(np.roll(padded, [-shift for shift in plan.shift], (0, 1, 2, 3)), plan)


def expected_mask(plan: WindowPlan) -> Float[np.ndarray, "windows tokens tokens"] | None:
    """The mask that a shifted block adds to the scores of each window; None without a shift."""
    if not plan.shifted:
        return None
    windows = expected_regions(plan)
    apart = windows[:, :, None] != windows[:, None, :]
    return np.where(apart, np.float32(MASK_VALUE), np.float32(0))


def expected_regions(plan: WindowPlan) -> Int[np.ndarray, "windows tokens"]:
    """The region of each token of each window.

    Regions are numbered as in Swin (arXiv:2103.14030): three slices per axis on the padded, shifted grid.
    """
    regions = np.zeros(plan.padded, np.int32)
    slices = [
        (slice(0, -window), slice(-window, -shift), slice(-shift, None)) if shift else (slice(None),)
        for window, shift in zip(plan.window, plan.shift, strict=True)
    ]
    for number, region in enumerate(itertools.product(*slices)):
        regions[region] = number
    return _partition(regions, plan)


def _partition(grid: np.ndarray, plan: WindowPlan) -> np.ndarray:
    """Divide a grid into windows, in order."""
    starts = itertools.product(*(range(0, n, w) for n, w in zip(plan.padded, plan.window, strict=True)))
    cut = [grid[tuple(slice(s, s + w) for s, w in zip(start, plan.window, strict=True))] for start in starts]
    return np.stack([window.reshape(-1) for window in cut])
