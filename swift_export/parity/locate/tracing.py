"""The error after every block, and a picture of what is compared: for those who look at a report."""

from __future__ import annotations

import numpy as np

from swift_export.models.swift.backbone.places import block_of, is_output, place_names
from swift_export.parity.locate.intermediate_values import Inside
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.running import Clips
from swift_export.parity.results import BlockError, Picture
from swift_export.parity.targets import Target

__all__ = ["trace"]


def trace(inside: Inside, target: Target, clips: Clips, name: str) -> tuple[tuple[BlockError, ...], Picture | None]:
    """Run one probe of an artifact on the first clip of the input ``name``.

    The picture is of the first stage's last block, whose map is the finest; None where the artifact does not name it.
    """
    config = inside.reference.config
    files = clips[name][:1]
    wanted = [place for place in place_names(config) if is_output(place)]
    places = inside.places(target, wanted)
    if not places:
        return (), None
    found, expected = inside.found(target, files, places), inside.expected(files, places)
    errors = tuple(BlockError(str(block_of(p)), compare(found[p], expected[p])) for p in places)
    finest = wanted[config.depths[0] - 1]
    if finest not in places or found[finest].shape != expected[finest].shape:
        return errors, None
    clip = np.load(files[0], mmap_mode="r")
    frames = clip.shape[-1]
    grid = (*config.grid(0)[:3], frames, -1)
    maps = [
        np.asarray(values[finest][0]).reshape(grid)[:, :, grid[2] // 2, frames // 2] for values in (expected, found)
    ]
    # Channels differ in what they show: the one with the most contrast.
    channel = int(maps[0].std((0, 1)).argmax())
    picture = Picture(
        input=name,
        clip=np.array(clip[0, :, :, clip.shape[3] // 2, frames // 2]),
        value=f"{block_of(finest)}, channel {channel}",
        expected=maps[0][..., channel].copy(),
        found=maps[1][..., channel].copy(),
    )
    return errors, picture
