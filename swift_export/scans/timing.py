"""The time between the frames of a run, and resampling to another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int

from swift_export.errors import InputError
from swift_export.scans.nifti import MAX_FRAMES
from swift_export.scans.placement import check_positive
from swift_export.scans.sidecar import read_sidecar, stem

if TYPE_CHECKING:
    from swift_export.scans.nifti import NiftiFile, Warn

__all__ = ["TRAINING_TR", "RepetitionTime", "Resampling", "repetition_time", "resampling"]

#: Repetition times, in s, close to those of the training data (from 0.72 s in HCP to 0.8 s in ABCD).
TRAINING_TR = (0.6, 1.0)
#: The value that programs write into a header if they do not know the real one.
_DEFAULT_TR = 1.0
#: Longest plausible repetition time in s.
_LONGEST_TR = 60.0


@dataclass(frozen=True)
class RepetitionTime:
    """Seconds between two frames, and the source of this value: ``sidecar`` or ``header``."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Resampling:
    """Linear interpolation between frames: ``torch.nn.functional.interpolate(mode="linear", align_corners=False)``.

    Frame i of the result is ``first[i]`` times ``1 - weight[i]`` plus ``second[i]`` times ``weight[i]``.
    """

    first: Int[np.ndarray, " frames"]
    second: Int[np.ndarray, " frames"]
    weight: Float32[np.ndarray, " frames"]

    def __len__(self) -> int:
        return len(self.weight)

    def sources(self, frame: int) -> tuple[int, int]:
        """The two source frames of a frame of the result."""
        return int(self.first[frame]), int(self.second[frame])

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``first``, ``second`` and ``weight``."""
        return self.first, self.second, self.weight


def repetition_time(scan: NiftiFile, warn: Warn, given: float | None = None) -> RepetitionTime | None:
    """The repetition time from the BIDS sidecar beside the scan, otherwise from the header; None if unknown.

    ``given`` is the one from all sidecars that apply, which then is used.
    """
    header = scan.repetition_time
    sidecar = _sidecar(scan.path, warn) if given is None else given
    if sidecar is None:
        return None if header is None else RepetitionTime(header, "header")
    if header not in (None, _DEFAULT_TR) and abs(header - sidecar) > 0.01 * sidecar:
        warn(f"the sidecar's RepetitionTime is {sidecar:g} s, the header's {header:g} s; the sidecar's was used")
    return RepetitionTime(sidecar, "sidecar")


def resampling(frames: int, seconds: float, target: float) -> Resampling:
    """Resampling from ``frames`` frames, ``seconds`` apart, to frames ``target`` seconds apart.

    The weights equal torch's on current processors. The scale is rounded to float32, and so is the position, but only
    once, because ``area_pixel_compute_source_index`` is compiled to a fused multiply-add.

    Raises:
        UsageError: the target is not a positive time.
        InputError: the target results in no frame, or in too many.

    """
    check_positive("--resample-tr", target)
    count = round(min(seconds * frames / target, 2 * MAX_FRAMES))
    if not 1 <= count <= MAX_FRAMES:
        found = "none" if count < 1 else "more"
        raise InputError(
            f"--resample-tr {target:g}: expected 1 to {MAX_FRAMES} frames from {frames} frames of {seconds:g} s, found "
            f"{found}; choose another time"
        )
    scale = np.float64(np.float32(frames) / np.float32(count))
    place = np.maximum(scale * (np.arange(count) + 0.5) - 0.5, 0).astype(np.float32)
    first = np.minimum(place.astype(np.int64), frames - 1)
    weight = np.clip(place - first.astype(np.float32), np.float32(0), np.float32(1))
    return Resampling(first, np.minimum(first + 1, frames - 1), weight)


def _sidecar(scan: Path, warn: Warn) -> float | None:
    path = scan.with_name(f"{stem(scan.name)}.json")
    if not path.is_file():
        return None
    try:
        value = read_sidecar(path).get("RepetitionTime")
    except ValueError as error:
        warn(f"the sidecar {path.name} cannot be read ({error}); the header's repetition time was used")
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST_TR:
        return float(value)
    if value is not None:
        warn(
            f"the sidecar {path.name} has RepetitionTime {value!r:.20}, which is not a time in seconds; the header's "
            "was used"
        )
    return None
