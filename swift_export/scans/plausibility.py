"""Runs that fit every rule and whose features would mean nothing: what is refused, and what is warned of."""

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
    """A scan that fits the input contract's rules, and whose features may mean nothing all the same."""


Volume = Float[np.ndarray, "x y z"]

#: Above this share of values of the file that are not 0 a run still has its skull and air; a brain fills a quarter of
#: the MNI152 grid, and four tenths of the tightest crop in use, 75x93x81.
_MOST_BRAIN = 0.5
#: Of anatomy, the mean of the brain is several times its deviation; of a denoised or z-scored run it is about 0.
_LEAST_MEAN = 0.5
#: The temporal means of a run whose voxels were brought to one mean differ less than those of pure noise, by this;
#: where frames were dropped since, by what these leave of a mean.
_LEAST_ANATOMY = 0.8
#: The share of nearly zero values that no brain has.
_MOST_TINY = 0.02
#: The first frames of a run are brighter than this while magnetisation is not steady: share of the median frame's mean,
#: and deviations of the frames' means.
_BRIGHTER, _OUTLYING = 0.05, 6.0
#: No scanner needs longer to become steady, in frames.
_MOST_UNSTEADY = 20
#: Extent of the MNI152 brain, in mm, its centre, and how much smaller or larger and how far off a brain may be.
_EXTENT, _BRAIN_CENTRE = (146.0, 182.0, 152.0), (0.0, -17.0, 6.0)
_SMALLEST, _LARGEST, _FARTHEST = 0.8, 1.25, 20.0


def check_signal(name: str, statistics: RunStatistics, share: float, *, masked: bool) -> None:
    """Raise InputError for a run that is not brain-masked, or holds nothing but background or one constant.

    ``share`` is that of values that are not 0 in the whole file, wherever its voxels go.
    """
    if share > _MOST_BRAIN and masked:
        raise InputError(
            f"{name}: the mask leaves {share:.0%} of the values, expected the brain, at most {_MOST_BRAIN:.0%}; give "
            "the run's brain mask (of fMRIPrep: its desc-brain_mask)"
        )
    if share > _MOST_BRAIN:
        raise InputError(
            f"{name}: {share:.0%} of the values are not 0: the run is not brain-masked; give its brain mask with "
            "--mask (of fMRIPrep: the run's desc-brain_mask)"
        )
    if not statistics.smallest < statistics.largest:
        found = "one constant" if statistics.foreground else "0 alone"
        where = "inside the mask" if masked else "in the run"
        raise InputError(f"{name}: expected BOLD signal, found {found} {where}; is it the right file?")
    # Squares of the largest and of the smallest floats are no numbers, or 0.
    if not 0 < statistics.deviation < math.inf:
        raise InputError(f"{name}: expected BOLD signal, found values to {statistics.largest:g}; is it damaged?")


def doubts(
    statistics: RunStatistics,
    mean: Volume,
    origin: Sequence[float] | None,
    *,
    masked: bool,
    dropped: tuple[int, int],
) -> Iterator[str]:
    """What about a run may make its features meaningless, a line each.

    ``mean`` is the mean of all frames, oriented; ``origin`` the mm of its first voxel and the mm a step, three numbers
    each, or None where nothing but paddings is known; ``dropped`` the frames left out at the beginning
    and at the end.
    """
    if abs(statistics.mean) < _LEAST_MEAN * statistics.deviation:
        yield (
            f"the brain's mean ({statistics.mean:.3g}) is near 0 beside its deviation ({statistics.deviation:.3g}): "
            "anatomy is gone, as from denoised or z-scored runs; the models were trained on runs that have it: give "
            "the preprocessed run (of fMRIPrep: desc-preproc_bold)"
        )
    elif _flattened(statistics, mean):
        yield (
            "every voxel has the same mean over time: anatomy is gone, as from runs scaled voxel by voxel; the models "
            "were trained on runs that have it: give the preprocessed run (of fMRIPrep: desc-preproc_bold)"
        )
    if statistics.tiny > _MOST_TINY * statistics.foreground:
        share = statistics.tiny / statistics.foreground
        advice = "give a tighter --mask" if masked else "give the brain mask with --mask"
        yield (
            f"{share:.0%} of the values that are not 0 are less than a thousandth of the largest, as resampling leaves "
            f"them around a brain; they shift the mean and count as brain: {advice}"
        )
    if unsteady := _unsteady(statistics.frame_means):
        yield (
            f"the first {unsteady} frame{'s are' if unsteady > 1 else ' is'} brighter than the rest: magnetisation was "
            f"not steady yet; leave them out with --drop-frames {dropped[0] + unsteady},{dropped[1]} or more"
        )
    yield from _misfit(mean, origin)


def tr_doubts(found: RepetitionTime | None, resampled: float | None) -> Iterator[str]:
    """What about the time between frames may make features meaningless."""
    low, high = TRAINING_TR
    seconds = resampled if resampled is not None else None if found is None else found.seconds
    if seconds is None:
        yield (
            "the repetition time is not known, training had 0.72 to 0.8 s: neither the header nor a sidecar states a "
            "plausible one; put a .json with RepetitionTime, in seconds, beside the scan"
        )
    elif not low <= seconds <= high:
        advice = "--resample-tr 0.8 interpolates" if resampled is None else "choose one near it"
        yield f"the repetition time is {seconds:g} s, training had 0.72 to 0.8 s; {advice}"


def _flattened(statistics: RunStatistics, mean: Volume) -> bool:
    """Whether voxels' means differ by less than means of independent noise would."""
    inside = mean[mean != 0]
    frames = len(statistics.frame_means)
    if frames < 2 or inside.size < 2:
        return False
    return float(inside.std()) < _LEAST_ANATOMY * statistics.deviation / math.sqrt(frames)


def _unsteady(means: Sequence[float]) -> int:
    """How many frames at the beginning are not steady: up to the first that is not brighter than most, if one is."""
    values = np.array(means)
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return 0
    median = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    limit = median + max(_BRIGHTER * abs(median), _OUTLYING * spread)
    head = values[:_MOST_UNSTEADY]
    # Frames without a brain, of NaN, are not steady either.
    first = int(np.argmax(head <= limit)) if (head <= limit).any() else 0
    return first if (head[:first] > limit).any() else 0


def _misfit(mean: Volume, origin: Sequence[float] | None) -> Iterator[str]:
    """A brain of another size, or in another place, than MNI152's; what resampling leaves around it is no brain."""
    size = np.abs(mean)
    inside = size > TINY * size.max()
    ranges = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not all(len(found) for found in ranges):
        return
    extent = [VOXEL_SIZE * (int(found[-1]) - int(found[0]) + 1) for found in ranges]
    ratio = math.prod(e / n for e, n in zip(extent, _EXTENT, strict=True)) ** (1 / 3)
    if not _SMALLEST <= ratio <= _LARGEST:
        yield (
            f"the brain extends over {extent[0]:g} x {extent[1]:g} x {extent[2]:g} mm, MNI152's over 146 x 182 x 152: "
            "is the run registered to MNI152, with voxels of 2 mm?"
        )
    if origin is not None:
        first, step = origin[:3], origin[3:]
        middle = [
            mm + by * (int(found[0]) + int(found[-1])) / 2 for mm, by, found in zip(first, step, ranges, strict=True)
        ]
        off = max(abs(m - n) for m, n in zip(middle, _BRAIN_CENTRE, strict=True))
        if off > _FARTHEST:
            yield (
                f"the brain's middle lies at ({', '.join(f'{m:.0f}' for m in middle)}) mm, MNI152's at (0, -17, 6): is "
                "the run registered to MNI152, and the placement right?"
            )
