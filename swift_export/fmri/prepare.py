"""A run of volumes becomes a clip as the model was trained on it: normalised over the run, placed on the model's grid.

The steps are those of the published preprocessing (input contract in ``docs/input-contract.md``): background is every
value equal to 0, voxel by voxel and frame by frame; mean and standard deviation (n - 1) are taken over all other values
of the whole run; background becomes the smallest z value of the whole run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from swift_export.errors import InputError
from swift_export.fmri.grid import Orientation, place, reorientation
from swift_export.fmri.mask import read_mask
from swift_export.fmri.nifti import NiftiFile

__all__ = ["RunStatistics", "prepare_run"]

#: Above this share of non-zero values a run still has its skull and air; a brain fills a quarter of the MNI152 grid,
#: and four tenths of the tightest crop in use, 75x93x81.
_MOST_BRAIN = 0.5

Volume = Float[np.ndarray, "x y z"]


@dataclass
class RunStatistics:
    """Mean, standard deviation and range of the non-background values of a run, gathered frame by frame.

    Accumulated in float64; frames are combined by the update of Chan, Golub and LeVeque (1979), which does not lose
    the deviations in the size of the mean as a sum of squares would.
    """

    values: int = 0
    foreground: int = 0
    mean: float = 0.0
    smallest: float = math.inf
    largest: float = -math.inf
    _squares: float = field(default=0.0, repr=False)

    @property
    def deviation(self) -> float:
        """Standard deviation with n - 1, as torch's ``std`` has it."""
        return math.sqrt(self._squares / (self.foreground - 1)) if self.foreground > 1 else 0.0

    @property
    def background(self) -> float:
        """The smallest z value of the run: what background becomes."""
        return (self.smallest - self.mean) / self.deviation

    def add(self, volume: Volume) -> None:
        """Take a frame into account."""
        inside = volume[volume != 0]
        self.values += volume.size
        if not inside.size:
            return
        self.smallest = min(self.smallest, float(inside.min()))
        self.largest = max(self.largest, float(inside.max()))
        mean = float(inside.mean())
        inside -= mean
        total = self.foreground + inside.size
        step = mean - self.mean
        self._squares += float(inside @ inside) + step * step * self.foreground * inside.size / total
        self.mean += step * inside.size / total
        self.foreground = total


def prepare_run(
    scan: NiftiFile,
    size: tuple[int, int, int],
    *,
    start: int,
    frames: int,
    orientation: Orientation = "LAS",
    mask: Path | None = None,
) -> tuple[Float32[np.ndarray, "h w d t"], RunStatistics]:
    """Frames ``start`` to ``start + frames`` of a 4D scan, in z values of the whole run, on a grid of ``size``.

    What the volume in the file ``mask`` leaves out becomes background. The run is read once, from its first frame to
    its last; one frame and the window are held in memory.

    Raises InputError when the scan is 3D or ends before the window does; for a grid or a mask that does not fit
    (`reorientation`, `read_mask`); when a value (inside the mask) is not finite, with the count and the first place;
    when the run is not masked; and when it holds nothing but background or one constant.
    """
    _check_window(scan, start, frames)
    reorient = reorientation(scan, orientation)
    inside = None if mask is None else read_mask(mask, scan)
    statistics = RunStatistics()
    broken = _NonFinite()
    window = np.zeros((frames, *size))
    # Values that overflow float64 are found below, where the file can be named.
    with np.errstate(over="ignore", invalid="ignore"):
        for frame, stored in enumerate(scan.volumes()):
            volume = stored if inside is None else np.where(inside, stored, 0.0)
            broken.look(volume, frame)
            if broken.count:
                continue
            statistics.add(volume)
            if start <= frame < start + frames:
                window[frame - start] = place(reorient(volume), size)
    broken.refuse(scan, masked=mask is not None)
    _check_run(scan, statistics, masked=mask is not None)

    background = window == 0
    if background.all():
        raise InputError(
            f"{scan.path}: frames {start} to {start + frames - 1} hold background alone on the model's grid {size}; "
            "expected a brain at the grid's centre"
        )
    window -= statistics.mean
    window /= statistics.deviation
    window[background] = statistics.background
    return np.ascontiguousarray(np.moveaxis(window, 0, -1), np.float32), statistics


@dataclass
class _NonFinite:
    """Counts the values that are no numbers and remembers where the first one is."""

    count: int = 0
    first: tuple[int, ...] = ()

    def look(self, volume: Volume, frame: int) -> None:
        bad = ~np.isfinite(volume)
        found = int(np.count_nonzero(bad))
        if found and not self.count:
            # In the order of the file: x fastest.
            z, y, x = (int(i) for i in np.unravel_index(int(np.argmax(bad.T)), bad.T.shape))
            self.first = (x, y, z, frame)
        self.count += found

    def refuse(self, scan: NiftiFile, masked: bool) -> None:
        if self.count:
            where = " inside the mask" if masked else ""
            advice = "" if masked else ", or give --mask if they lie outside the brain"
            raise InputError(
                f"{scan.path}: expected finite values, found {self.count} NaN or infinite{where}, the first at voxel "
                f"{self.first[:3]} of frame {self.first[3]}; repair the run{advice}"
            )


def _check_window(scan: NiftiFile, start: int, frames: int) -> None:
    if len(scan.shape) != 4:
        raise InputError(f"{scan.path}: expected a 4D run, found one volume of shape {scan.shape}; give the BOLD run")
    if not 0 <= start <= scan.frames - frames:
        raise InputError(
            f"{scan.path}: expected at least {start + frames} frames ({frames} from frame {start}), found "
            f"{scan.frames}; give a longer run, or a model exported with fewer --frames"
        )


def _check_run(scan: NiftiFile, statistics: RunStatistics, masked: bool) -> None:
    share = statistics.foreground / statistics.values
    if not masked and share > _MOST_BRAIN:
        raise InputError(
            f"{scan.path}: {share:.0%} of the values are not 0: the run is not brain-masked; give its brain mask with "
            "--mask (of fMRIPrep: the run's desc-brain_mask)"
        )
    if not statistics.smallest < statistics.largest:
        found = "one constant" if statistics.foreground else "0 alone"
        where = "inside the mask" if masked else "in the run"
        raise InputError(f"{scan.path}: expected BOLD signal, found {found} {where}; is it the right file?")
    if not math.isfinite(statistics.deviation):
        raise InputError(f"{scan.path}: expected BOLD signal, found values to {statistics.largest:g}; is it damaged?")
