"""A slice through the middle of the brain, for reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from swift_export.models.model import Picture
from swift_export.models.swift.check_inputs import INPUT
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.places import block_of, is_output, place_names

__all__ = ["BrainSlice"]


@dataclass(frozen=True)
class BrainSlice:
    """Shows the clip's middle slice and frame, and one channel of the first stage's last block, the finest map. Rows
    are the first spatial axis, columns the second.
    """

    config: SwiFTConfig

    @property
    def place(self) -> str:
        """The result of the first stage's last block."""
        return [place for place in place_names(self.config) if is_output(place)][self.config.depths[0] - 1]

    def paint(
        self, name: str, inputs: Mapping[str, np.ndarray], expected: np.ndarray, found: np.ndarray
    ) -> Picture | None:
        """The picture of the first clip; values are (1, tokens, channels). None if shapes differ."""
        if expected.shape != found.shape:
            return None
        clip = inputs[INPUT][0]
        frames = clip.shape[-1]
        grid = (*self.config.grid(0)[:3], frames, -1)
        maps = [np.asarray(values[0]).reshape(grid)[:, :, grid[2] // 2, frames // 2] for values in (expected, found)]
        # The channel with the most contrast.
        channel = int(maps[0].std((0, 1)).argmax())
        return Picture(
            input=name,
            input_image=np.array(clip[0, :, :, clip.shape[3] // 2, frames // 2]),
            value=f"{block_of(self.place)}, channel {channel}",
            expected=maps[0][..., channel].copy(),
            found=maps[1][..., channel].copy(),
        )
