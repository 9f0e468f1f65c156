"""The clips of a check, for the reference and every runtime, with the same bytes on every machine.

Only NumPy's PCG64 stream, additions and multiplications are used: the last bit of no result depends on the processor.
Item k of a batch depends only on the seed and k, so a clip is the same in batches of one and of three. All items of a
batch differ, so a runtime that mixes up a batch cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from swift_export.models.model import CheckInput, Sizes
from swift_export.models.swift.clip import Clip
from swift_export.models.swift.config import SwiFTConfig

__all__ = ["INPUT", "Given", "Noise", "Phantom", "noise", "phantom", "standard_inputs"]

#: The name of SwiFT's input.
INPUT = "bold"

Batch = Float[np.ndarray, "batch c h w d t"]

#: The value of the phantom's background: about the smallest z value of a real run.
_BACKGROUND = np.float32(-2.5)


def noise(config: SwiFTConfig, batch: int, frames: int | None = None, seed: int = 0) -> Batch:
    """Standard normal values in float32, without structure that could hide a wrong layout."""
    return _stack(lambda rng, shape: rng.standard_normal(shape, dtype=np.float32), config, batch, frames, seed)


def phantom(config: SwiFTConfig, batch: int, frames: int | None = None, seed: int = 0) -> Batch:
    """A clip like a prepared scan, in float32 z values: an asymmetric brain on a constant background.

    The brain is an ellipsoid that no flip and no exchange of axes maps onto itself, with gradients in space, a slow
    drift in time and noise. The outside is one constant: in constant patches, normalisation layers meet zero variance,
    which noise never has.
    """
    return _stack(_phantom_clip, config, batch, frames, seed)


@dataclass(frozen=True)
class Noise:
    """`noise` as a check's input."""

    config: SwiFTConfig
    frames: int | None = None
    seed: int = 0
    name: str = "noise"

    def at(self, batch: int) -> Batch:
        """``batch`` clips, float32."""
        return noise(self.config, batch, self.frames, self.seed)

    def draw(self, sizes: Sizes) -> Mapping[str, np.ndarray]:
        """``bold``: ``sizes["batch"]`` clips."""
        return {INPUT: self.at(sizes["batch"])}

    def describe(self) -> Mapping[str, Any]:
        """The seed."""
        return {"name": self.name, "seed": self.seed}


@dataclass(frozen=True)
class Phantom:
    """`phantom` as a check's input."""

    config: SwiFTConfig
    frames: int | None = None
    seed: int = 0
    name: str = "phantom"

    def at(self, batch: int) -> Batch:
        """``batch`` clips, float32."""
        return phantom(self.config, batch, self.frames, self.seed)

    def draw(self, sizes: Sizes) -> Mapping[str, np.ndarray]:
        """``bold``: ``sizes["batch"]`` clips."""
        return {INPUT: self.at(sizes["batch"])}

    def describe(self) -> Mapping[str, Any]:
        """The seed."""
        return {"name": self.name, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Given:
    """A clip of the user, repeated with variations to fill a batch.

    The clips of the file come first, unchanged. In each further round, they start one frame later (cyclically) and are
    1/64 larger, so that all items differ even if a clip is constant in time.
    """

    clip: Clip

    @property
    def name(self) -> str:
        """The file's name."""
        return self.clip.name

    @property
    def items(self) -> int:
        """The number of clips in the file."""
        return len(self.clip.array)

    def at(self, batch: int) -> Batch:
        """``batch`` clips, float32."""
        given = self.clip.array
        items = []
        for item in range(batch):
            turn, index = divmod(item, len(given))
            items.append(np.roll(given[index], turn, axis=-1) * np.float32(1 + turn / 64))
        return np.stack(items)

    def draw(self, sizes: Sizes) -> Mapping[str, np.ndarray]:
        """``bold``: ``sizes["batch"]`` clips."""
        return {INPUT: self.at(sizes["batch"])}

    def describe(self) -> Mapping[str, Any]:
        """The preparation of the file: orientation, mask, frames, statistics, digest of the array."""
        return {"name": self.name, **self.clip.provenance}


def standard_inputs(config: SwiFTConfig, frames: int | None = None, seed: int = 0) -> tuple[CheckInput, ...]:
    """The inputs of every check: noise and phantom."""
    return Noise(config, frames, seed), Phantom(config, frames, seed)


def _stack(
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    config: SwiFTConfig,
    batch: int,
    frames: int | None,
    seed: int,
) -> Batch:
    clips = np.empty((batch, *config.input_shape(frames)), np.float32)
    for item in range(batch):
        clips[item] = draw(np.random.Generator(np.random.PCG64([seed, item])), clips.shape[1:])
    return clips


def _phantom_clip(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    *_, h, w, d, t = shape
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in (h, w, d)), indexing="ij", sparse=True)
    # Asymmetric: off centre on every axis, with three different radii, and sheared.
    u, v, w_ = (x - 0.08) * 1.35, (y + 0.05) * 1.1, (z + 0.1 * x - 0.04) * 1.45
    brain = u * u + v * v + w_ * w_ < 1
    level = x - 0.5 * y + y * z
    time = np.linspace(-1, 1, t, dtype=np.float32)
    clip = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.5)
    clip += level[..., None] + (z + 0.25 * x)[..., None] * (time * time)
    return np.where(brain[..., None], clip, _BACKGROUND)
