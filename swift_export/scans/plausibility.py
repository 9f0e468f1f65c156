"""Checks of plausibility: errors and warnings for runs that meet the formal rules but give meaningless features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError
from swift_export.scans.grid import VOXEL_SIZE
from swift_export.scans.nifti import Warn
from swift_export.scans.statistics import TINY
from swift_export.scans.timing import TRAINING_TR, RepetitionTime

if TYPE_CHECKING:
    from swift_export.scans.statistics import RunStatistics

__all__ = ["ScanWarning", "Warn", "check_signal", "doubts", "tr_doubts"]


class ScanWarning(UserWarning):
    """A scan that meets the input contract, but whose features may be meaningless."""


Volume = Float[np.ndarray, "x y z"]

#: A run with a larger share of non-zero values still contains skull and air. A brain fills a quarter of the MNI152
#: grid, and 40 % of the tightest crop in use, 75x93x81.
_MOST_BRAIN = 0.5
#: Smallest mean of the brain in units of its deviation. With anatomy it is several; in denoised or z-scored runs, about
#: 0.
_LEAST_MEAN = 0.5
#: If voxels were scaled to the same mean, their temporal means differ less than this multiple of the spread in pure
#: noise, even when frames were dropped afterwards.
_LEAST_ANATOMY = 0.8
#: A share of nearly zero values that no brain reaches.
_MOST_TINY = 0.02
#: Excess brightness of the first frames, before the magnetisation is steady: as a share of the median frame's mean, and
#: in deviations of the frames' means.
_BRIGHTER, _OUTLYING = 0.05, 6.0
#: Most frames until the magnetisation is steady, on any scanner.
_MOST_UNSTEADY = 20
#: Extent and centre of the MNI152 brain in mm; the allowed range of relative size, and the allowed distance.
_EXTENT, _BRAIN_CENTRE = (146.0, 182.0, 152.0), (0.0, -17.0, 6.0)
_SMALLEST, _LARGEST, _FARTHEST = 0.8, 1.25, 20.0


def check_signal(name: str, statistics: RunStatistics, share: float, *, masked: bool) -> None:
    """Raise InputError for a run that is not brain-masked, or that contains only background or one constant.

    ``share`` is the share of non-zero values in the whole file, on and off the model's grid.
    """
    if share > _MOST_BRAIN and masked:
        raise InputError(
            f"{name}: expected a mask that keeps at most {_MOST_BRAIN:.0%} of the values, found {share:.0%}; give the "
            "run's brain mask (fMRIPrep: desc-brain_mask)"
        )
    if share > _MOST_BRAIN:
        raise InputError(
            f"{name}: expected a brain-masked run, found {share:.0%} non-zero values; give its brain mask with --mask "
            "(fMRIPrep: desc-brain_mask)"
        )
    if not statistics.smallest < statistics.largest:
        found = "one constant" if statistics.foreground else "only 0"
        where = "inside the mask" if masked else "in the run"
        raise InputError(f"{name}: expected BOLD signal, found {found} {where}; check the file")
    # Squares of the largest floats overflow, and those of the smallest become 0.
    if not 0 < statistics.deviation < math.inf:
        raise InputError(
            f"{name}: expected BOLD signal, found values up to {statistics.largest:g}; check the file for damage"
        )


def doubts(
    statistics: RunStatistics,
    mean: Volume,
    origin: Sequence[float] | None,
    *,
    masked: bool,
    dropped: tuple[int, int],
) -> Iterator[str]:
    """Lines about conditions of a run that may make its features meaningless.

    ``mean`` is the oriented mean of all frames. ``origin`` holds the position of its first voxel and the steps, in mm,
    three numbers each, or is None if only paddings are known. ``dropped`` are the frames dropped at the beginning and
    at the end.
    """
    if abs(statistics.mean) < _LEAST_MEAN * statistics.deviation:
        yield (
            f"the brain's mean ({statistics.mean:.3g}) is near 0 compared with its deviation "
            f"({statistics.deviation:.3g}): the run has no anatomy, like denoised or z-scored runs; give the "
            "preprocessed run with anatomy, as in training (fMRIPrep: desc-preproc_bold)"
        )
    elif _flattened(statistics, mean):
        yield (
            "every voxel has the same mean over time: the run has no anatomy, like runs scaled voxel by voxel; give "
            "the preprocessed run with anatomy, as in training (fMRIPrep: desc-preproc_bold)"
        )
    if statistics.tiny > _MOST_TINY * statistics.foreground:
        share = statistics.tiny / statistics.foreground
        advice = "give a tighter --mask" if masked else "give the brain mask with --mask"
        yield (
            f"{share:.0%} of the non-zero values are below a thousandth of the largest, probably from resampling "
            f"around the brain; they count as brain and shift the mean; {advice}"
        )
    if unsteady := _unsteady(statistics.frame_means):
        yield (
            f"the first {unsteady} frame{'s are' if unsteady > 1 else ' is'} brighter than the rest, before the "
            f"magnetisation was steady; use --drop-frames {dropped[0] + unsteady},{dropped[1]} or more"
        )
    yield from _misfit(mean, origin)


def tr_doubts(found: RepetitionTime | None, resampled: float | None) -> Iterator[str]:
    """Lines about a time between frames that may make features meaningless."""
    low, high = TRAINING_TR
    seconds = resampled if resampled is not None else None if found is None else found.seconds
    if seconds is None:
        yield (
            "the repetition time is unknown (0.72 to 0.8 s in training): neither the header nor a sidecar states a "
            "plausible one; put a .json with RepetitionTime, in seconds, beside the scan"
        )
    elif not low <= seconds <= high:
        advice = "use --resample-tr 0.8 to interpolate" if resampled is None else "choose a closer value"
        yield f"the repetition time is {seconds:g} s (0.72 to 0.8 s in training); {advice}"


def _flattened(statistics: RunStatistics, mean: Volume) -> bool:
    """Whether the means of voxels differ less than means of independent noise would."""
    inside = mean[mean != 0]
    frames = len(statistics.frame_means)
    if frames < 2 or inside.size < 2:
        return False
    return float(inside.std()) < _LEAST_ANATOMY * statistics.deviation / math.sqrt(frames)


def _unsteady(means: Sequence[float]) -> int:
    """The number of unsteady frames at the beginning: those before the first frame of normal brightness."""
    values = np.array(means)
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return 0
    median = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    limit = median + max(_BRIGHTER * abs(median), _OUTLYING * spread)
    head = values[:_MOST_UNSTEADY]
    # Frames without a brain have NaN as their mean and count as unsteady.
    first = int(np.argmax(head <= limit)) if (head <= limit).any() else 0
    return first if (head[:first] > limit).any() else 0


def _misfit(mean: Volume, origin: Sequence[float] | None) -> Iterator[str]:
    """Lines about a brain whose size or position differs from MNI152's; residues of resampling do not count."""
    size = np.abs(mean)
    inside = size > TINY * size.max()
    ranges = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not all(len(found) for found in ranges):
        return
    extent = [VOXEL_SIZE * (int(found[-1]) - int(found[0]) + 1) for found in ranges]
    ratio = math.prod(e / n for e, n in zip(extent, _EXTENT, strict=True)) ** (1 / 3)
    if not _SMALLEST <= ratio <= _LARGEST:
        yield (
            f"the brain measures {extent[0]:g} x {extent[1]:g} x {extent[2]:g} mm, MNI152's 146 x 182 x 152; check "
            "that the run is registered to MNI152, with voxels of 2 mm"
        )
    if origin is not None:
        first, step = origin[:3], origin[3:]
        middle = [
            mm + by * (int(found[0]) + int(found[-1])) / 2 for mm, by, found in zip(first, step, ranges, strict=True)
        ]
        off = max(abs(m - n) for m, n in zip(middle, _BRAIN_CENTRE, strict=True))
        if off > _FARTHEST:
            yield (
                f"the brain's centre is at ({', '.join(f'{m:.0f}' for m in middle)}) mm, MNI152's at (0, -17, 6); "
                "check that the run is registered to MNI152, and check the placement"
            )
