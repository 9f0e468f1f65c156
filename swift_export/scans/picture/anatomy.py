"""The data to draw: the mean volume with its position on the model's grid, and the values of the brain."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from swift_export.scans.placement import PLACEMENTS, Axes
from swift_export.scans.run import NiftiRun
from swift_export.scans.scan import Scan

__all__ = ["Anatomy", "Ranges", "Sample", "anatomy_of", "anatomy_of_run", "codes_of", "ranges", "sample_of"]

#: Windows are computed for the picture until they have this number of frames.
_FRAMES = 40
#: Tolerance for background values, in deviations or as a share: interpolation between frames rounds.
_BACKGROUND_TOLERANCE = 1e-4

#: Ranges of indices, one for each axis.
Ranges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Sample:
    """Some windows of a scan.

    Attributes:
        frames: number of frames.
        values: z values of the brain, of all frames.
        means: for each frame, its index among the remaining frames and the mean of its brain.
        volume: mean over the frames minus the background, on the model's grid.
        inside: voxels that are not background in every frame.

    """

    frames: int
    values: Float32[np.ndarray, " values"]
    means: tuple[tuple[int, float], ...]
    volume: Float[np.ndarray, "x y z"]
    inside: Bool[np.ndarray, "x y z"]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A mean volume and its boxes, in indices on the model's grid.

    Attributes:
        volume: the oriented mean volume, or its difference from the background.
        inside: voxels that are not background.
        front: index on the model's grid of its first voxel.
        size: voxels of the model's grid.
        scan: the extent of the scan's grid.
        covered: the part of it that the training arrays covered.
        kept: the part of ``covered`` on the model's grid.
        cut: number of non-zero voxels outside of ``kept``.

    """

    volume: Float[np.ndarray, "x y z"]
    inside: Bool[np.ndarray, "x y z"]
    front: Axes
    size: Axes
    scan: Ranges
    covered: Ranges
    kept: Ranges
    cut: int


def sample_of(scan: Scan) -> Sample:
    """Compute a few windows, spread evenly over the run."""
    background = np.float32(scan.facts["background"])
    tolerance = _BACKGROUND_TOLERANCE * max(1.0, abs(float(background)))
    windows = scan.windows
    count = min(len(scan), max(1, _FRAMES // windows.frames))
    total = np.zeros(scan.size)
    inside = np.zeros(scan.size, bool)
    values, means = [], {}
    for number in dict.fromkeys(np.linspace(0, len(scan) - 1, count).round().astype(int).tolist()):
        window = scan.window(number)
        window -= background
        here = (np.abs(window) > tolerance).any(axis=3)
        brain = window[here]
        known = np.abs(brain) > tolerance
        inside |= here
        total[here] += brain.sum(axis=1, dtype=np.float64)
        values.append(brain[known] + background)
        sums, counts = brain.sum(axis=0, where=known, dtype=np.float64), known.sum(axis=0)
        start = scan.facts["starts"][number]
        for frame, (of_frame, voxels) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
            mean = of_frame / voxels + float(background) if voxels else math.nan
            means[start + frame * windows.stride] = mean
    frames_taken = len(values) * windows.frames
    return Sample(frames_taken, np.concatenate(values), tuple(sorted(means.items())), total / frames_taken, inside)


def anatomy_of(scan: Scan, sample: Sample) -> Anatomy:
    """The mean volume of the run or, for a folder of frames, of the sample on the model's grid."""
    size = scan.size
    if scan.run is not None:
        return anatomy_of_run(scan.run, size)
    grid = ranges((front, m - back) for (front, back), m in zip(scan.facts["paddings"], size, strict=True))
    kept = ranges((max(0, start), min(m, stop)) for (start, stop), m in zip(grid, size, strict=True))
    (x, _), (y, _), (z, _) = kept
    part = tuple(slice(start, stop) for start, stop in kept)
    return Anatomy(sample.volume[part], sample.inside[part], (x, y, z), size, grid, grid, kept, 0)


def anatomy_of_run(run: NiftiRun, size: Axes) -> Anatomy:
    """The mean volume of a run, for a model's grid of this size."""
    geometry, mean, fronts = run.geometry, run.mean_volume, run.geometry.front
    grid = ranges((front, front + n) for front, n in zip(fronts, geometry.grid, strict=True))
    covered = ranges((front + c.start, front + c.stop) for front, c in zip(fronts, geometry.covered, strict=True))
    kept = ranges((target.start, target.stop) for target in geometry.target)
    return Anatomy(mean, mean != 0, fronts, size, grid, covered, kept, run.cut)


def codes_of(scan: Scan) -> str:
    """For each axis, the direction of rising indices; for an array used as stored, that of its data set."""
    orientation = str(scan.facts["orientation"])
    if orientation != "keep":
        return orientation
    placement = PLACEMENTS.get(str(scan.facts["placement"]))
    return placement.orientation if placement else "LAS"


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """A box of voxels from its three ranges."""
    x, y, z = pairs
    return x, y, z
