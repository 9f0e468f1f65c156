"""Numbers as integer levels times a step, at most half a step from the original.

All weights are rounded without a zero point, so that a weight of zero stays exactly zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Levels", "block_levels", "channel_levels", "pack", "unpack"]


@dataclass(frozen=True, eq=False)
class Levels:
    """Integers and their steps in float32; the number is the integer times the step.

    ``integers`` are (channels, inner) with one step a channel, or (channels, blocks, block) with one a block.
    """

    integers: np.ndarray
    steps: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """The step of every integer."""
        return np.broadcast_to(self.steps[..., None], self.integers.shape)

    @property
    def numbers(self) -> np.ndarray:
        """The numbers in float32, in the shape of the integers."""
        return np.asarray(self.integers.astype(np.float32) * self.spread)


def channel_levels(weights: np.ndarray) -> Levels:
    """Weights (channels, inner) in levels from -127 to 127."""
    steps = _nonzero(np.abs(weights).max(axis=1) / np.float32(127))
    return Levels(np.clip(np.rint(weights / steps[:, None]), -127, 127).astype(np.int8), steps)


def block_levels(weights: np.ndarray, bits: int, block: int) -> Levels:
    """Weights (channels, inner) in 2^bits levels with a step for each ``block`` of them, which zeros fill up.

    There is one more level below zero than above. The sign of a step selects the side that needs it, and numbers up to
    half a step beyond the last level are rounded to it.
    """
    channels, inner = weights.shape
    blocks = -(-inner // block)
    padded = np.zeros((channels, blocks * block), np.float32)
    padded[:, :inner] = weights
    padded = padded.reshape(channels, blocks, block)
    half = 2 ** (bits - 1)
    above, below = np.maximum(padded.max(axis=2), 0), np.maximum(-padded.min(axis=2), 0)
    upright, turned = (
        np.maximum(more / np.float32(half - 0.5), less / np.float32(half + 0.5))
        for more, less in ((above, below), (below, above))
    )
    steps = _nonzero(np.where(upright <= turned, upright, -turned).astype(np.float32))
    integers = np.clip(np.rint(padded / steps[..., None]), -half, half - 1).astype(np.int8)
    return Levels(integers, steps)


def pack(levels: Levels, bits: int) -> np.ndarray:
    """The integers of blocks as MatMulNBits stores them: unsigned, for 4 bits two in a byte, the first one below."""
    unsigned = (levels.integers.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return np.asarray(unsigned if bits == 8 else unsigned[..., 0::2] | (unsigned[..., 1::2] << 4))


def unpack(stored: np.ndarray, bits: int) -> np.ndarray:
    """The integers of `pack`."""
    unsigned = stored if bits == 8 else np.stack([stored & 15, stored >> 4], axis=-1).reshape(*stored.shape[:-1], -1)
    return np.asarray((unsigned.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8))


def _nonzero(steps: np.ndarray) -> np.ndarray:
    """Steps that can be divided by: at least the smallest normal number."""
    tiny = np.finfo(np.float32).tiny
    return np.where(np.abs(steps) < tiny, tiny, steps).astype(np.float32)
