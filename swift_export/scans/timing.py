"""The time between the frames of a run, and bringing a run to another one."""

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

#: Repetition times, in s, near enough to those of the training data (0.72 s of HCP to 0.8 s of ABCD).
TRAINING_TR = (0.6, 1.0)
#: What programs write into a header where they know no better.
_DEFAULT_TR = 1.0
#: Seconds that a repetition time can be.
_LONGEST_TR = 60.0


@dataclass(frozen=True)
class RepetitionTime:
    """Seconds between two frames, and where that stands: ``sidecar`` or ``header``."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Resampling:
    """Linear interpolation between frames, as ``torch.nn.functional.interpolate(mode="linear", align_corners=False)``.

    Frame i of the result is ``first[i]`` times ``1 - weight[i]`` plus ``second[i]`` times ``weight[i]``.
    """

    first: Int[np.ndarray, " frames"]
    second: Int[np.ndarray, " frames"]
    weight: Float32[np.ndarray, " frames"]

    def __len__(self) -> int:
        return len(self.weight)

    def sources(self, frame: int) -> tuple[int, int]:
        """The frames that a frame of the result lies between."""
        return int(self.first[frame]), int(self.second[frame])

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``first``, ``second`` and ``weight``."""
        return self.first, self.second, self.weight


def repetition_time(scan: NiftiFile, warn: Warn) -> RepetitionTime | None:
    """From the BIDS sidecar beside the scan, else from the header; None where neither tells."""
    header = scan.repetition_time
    sidecar = _sidecar(scan.path, warn)
    if sidecar is None:
        return None if header is None else RepetitionTime(header, "header")
    if header not in (None, _DEFAULT_TR) and abs(header - sidecar) > 0.01 * sidecar:
        warn(f"the sidecar's RepetitionTime is {sidecar:g} s, the header's {header:g} s; the sidecar's is taken")
    return RepetitionTime(sidecar, "sidecar")


def resampling(frames: int, seconds: float, target: float) -> Resampling:
    """From ``frames`` frames, ``seconds`` apart, to frames ``target`` seconds apart.

    The weights are torch's on today's processors: the scale is rounded to float32, and so is the place once, for
    ``area_pixel_compute_source_index`` is compiled to a fused multiplication and addition. Raises UsageError for a
    target that is no time, InputError for one that leaves no frame, or absurdly many.
    """
    check_positive("--resample-tr", target)
    count = round(min(seconds * frames / target, 2 * MAX_FRAMES))
    if not 1 <= count <= MAX_FRAMES:
        found = "no frame" if count < 1 else f"more than {MAX_FRAMES} frames"
        raise InputError(f"--resample-tr {target:g}: makes {found} of {frames} frames of {seconds:g} s")
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
        warn(f"the sidecar {path.name} cannot be read ({error}); the header's repetition time is taken")
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST_TR:
        return float(value)
    if value is not None:
        warn(
            f"the sidecar {path.name} has RepetitionTime {value!r:.20}, which is no time in seconds; the header's is "
            "taken"
        )
    return None
