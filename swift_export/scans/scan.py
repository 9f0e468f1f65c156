"""A scan as the model sees it: windows of frames on the model's grid, computed on request.

A scan is a NIfTI run, or a folder of the authors' ``frame_N.pt``.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError, UsageError
from swift_export.scans.clip_windows import Windows
from swift_export.scans.frames_folder import is_frames_folder, open_frames_folder
from swift_export.scans.grid import VOXEL_SIZE, Geometry, geometry_of
from swift_export.scans.mask import read_mask
from swift_export.scans.nifti import open_nifti
from swift_export.scans.placement import Axes
from swift_export.scans.plausibility import ScanWarning, Warn, doubts, tr_doubts
from swift_export.scans.read_options import Reading
from swift_export.scans.run import Columns, NiftiRun, measured
from swift_export.scans.scan_windows import windows_of_folder, windows_of_run
from swift_export.scans.timing import Resampling, repetition_time
from swift_export.system.progress import Progress, ignore_line

__all__ = ["Doubts", "Reading", "Scan", "is_nifti", "open_scan"]

Window = Float32[np.ndarray, "h w d t"]

#: Voxels that are written in one piece.
_TOGETHER = 8192


@runtime_checkable
class _Run(Protocol):
    """A source of frames in z values, on the model's grid."""

    def columns(self, frames: Sequence[int]) -> Columns: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """An open scan. Iteration, or `window`, computes its windows.

    ``facts`` are the provenance of the windows, as plain data for JSON. ``warnings`` list conditions that may make
    their features meaningless. ``run`` holds the measurements of a NIfTI run; it is None for a folder of frames.
    """

    name: str
    size: Axes
    windows: Windows
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]
    run: NiftiRun | None
    _run: _Run
    _resampling: Resampling | None = None

    def __len__(self) -> int:
        return len(self.windows.starts)

    def __iter__(self) -> Iterator[Window]:
        return map(self.window, range(len(self)))

    def window(self, number: int) -> Window:
        """One window, float32 (h, w, d, frames), C-contiguous."""
        window = np.empty((*self.size, self.windows.frames), np.float32)
        self.write(number, window)
        return window

    def write(self, number: int, out: Window) -> None:
        """Compute a window into the C-contiguous ``out``. Threads may compute windows concurrently."""
        indices = self.windows.indices(number)
        columns = self._run.columns(indices) if self._resampling is None else self._resampled(indices)
        flat = out.reshape(-1, len(indices))
        flat[...] = columns.background
        # The frames of a voxel are contiguous. Transposed first, they are written in one piece; few enough voxels at a
        # time stay in the cache meanwhile.
        for first in range(0, len(columns.voxels), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            flat[columns.voxels[some]] = np.ascontiguousarray(columns.values[:, some].T)

    def _resampled(self, indices: Sequence[int]) -> Columns:
        assert self._resampling is not None
        first, second, weight = (part[np.array(indices)] for part in self._resampling.parts)
        sources, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        columns = self._run.columns([int(source) for source in sources])
        one, other = columns.values[places[: len(first)]], columns.values[places[len(first) :]]
        one *= np.float32(1) - weight[:, None]
        other *= weight[:, None]
        return replace(columns, values=one + other)


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file, in upper or lower case."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


@contextmanager
def open_scan(
    path: Path,
    reading: Reading,
    size: Axes,
    frames: int,
    *,
    mask: Path | None = None,
    spool: Path | None = None,
    warn: Warn | None = None,
    on_progress: Progress = ignore_line,
) -> Iterator[Scan]:
    """Read a scan once for its statistics, and provide its windows within the block.

    Args:
        path: a NIfTI run, registered to MNI152 at 2 mm and brain-masked (or given with ``mask``), or a folder of
            ``frame_N.pt``.
        reading: the options.
        size: size of the model's grid in voxels.
        frames: frames per window.
        mask: a 3D NIfTI on the scan's grid; voxels outside become background.
        spool: folder for the unpacked foreground; by default the one for temporary files.
        warn: receives conditions that may make the features meaningless; by default a ScanWarning is issued.
        on_progress: receives the current step.

    Raises:
        InputError: the scan does not meet the input contract.
        UsageError: an option does not apply to the scan.

    """
    doubt = Doubts(path, reading.strict, warn)
    if is_frames_folder(path):
        if mask is not None:
            raise UsageError(f"{path}: --mask applies only to NIfTI runs; frames in a folder are already masked")
        yield _folder(path, reading, size, frames, doubt)
        return
    scan = open_nifti(path, as_stored=reading.oriented == "keep")
    if len(scan.shape) != 4:
        raise InputError(f"{path}: expected a 4D run, found one volume of shape {scan.shape}; give the BOLD run")
    geometry = geometry_of(scan, reading.placement, reading.oriented, size)
    for note in scan.notes:
        doubt(note)
    drop = reading.dropped
    time = repetition_time(scan, doubt, reading.repetition_time)
    for line in tr_doubts(time, reading.resample_tr):
        doubt(line)
    windows, resampled = windows_of_run(path, scan.frames, time, reading, frames)
    inside = None if mask is None else read_mask(mask, scan, as_stored=reading.oriented == "keep", warn=doubt)
    with measured(
        scan,
        geometry,
        drop=drop,
        wanted=_wanted(windows, resampled),
        inside=inside,
        allow_crop=reading.allow_crop,
        spool=spool,
        warn=doubt,
        on_progress=on_progress,
    ) as run:
        _refuse_empty(path, run, windows, resampled)
        for line in doubts(
            run.statistics, run.mean_volume, _origin(geometry, reading), masked=mask is not None, dropped=drop
        ):
            doubt(line)
        doubt.pass_on()
        statistics = run.statistics
        facts = {
            "kind": "nifti",
            "grid": list(scan.shape),
            "affine": None if scan.affine is None else scan.affine.tolist(),
            **_placed(reading, geometry),
            "drop_frames": list(drop),
            "cut_voxels": run.cut,
            "mask": None if mask is None else mask.name,
            "repetition_time": None if time is None else {"seconds": time.seconds, "source": time.source},
            "resample_tr": reading.resample_tr,
            "foreground": statistics.foreground / statistics.values,
            "mean": statistics.mean,
            "deviation": statistics.deviation,
            "background": statistics.background,
            **_windows(windows),
            "warnings": list(doubt.messages),
        }
        yield Scan(path.name, size, windows, facts, tuple(doubt.messages), run, run, resampled)


def _folder(path: Path, reading: Reading, size: Axes, frames: int, doubt: Doubts) -> Scan:
    if reading.resample_tr is not None:
        raise UsageError(f"{path}: --resample-tr needs a repetition time, which a folder of frames does not have")
    run = open_frames_folder(path, reading.placement, size)
    # The authors' folders contain only the frames that were not dropped.
    drop = reading.drop_frames or (0, 0)
    windows = windows_of_folder(path, len(run.files), reading, frames)
    shifted = Windows(tuple(start + drop[0] for start in windows.starts), frames, windows.stride, windows.total)
    smallest = float(run.columns([0]).values.min())
    if smallest < run.background:
        doubt(
            f"the first voxel ({run.background:.3g}), used as background, is not the smallest value ({smallest:.3g}); "
            "check that the frames are cropped and normalised like the authors'"
        )
    doubt.pass_on()
    facts = {
        "kind": "frames",
        "grid": [*run.shape, len(run.files)],
        **_placed(reading, run.geometry),
        "orientation": "keep",
        "drop_frames": list(drop),
        "stored": run.dtype,
        "background": run.background,
        **_windows(windows),
        "warnings": list(doubt.messages),
    }
    return Scan(path.resolve().name, size, shifted, facts, tuple(doubt.messages), None, run)


@dataclass
class Doubts:
    """Collects the warnings about a scan, each once, until it is accepted; a rejected scan reports only its error.

    With ``strict``, the first warning is an error. Warnings go to ``warn`` or, without it, are issued as ScanWarning.
    """

    path: Path
    strict: bool
    warn: Warn | None = None
    messages: list[str] = field(default_factory=list)

    def __call__(self, message: str) -> None:
        """Add a warning; raises InputError with ``strict``."""
        # Notices from file readers begin with the name of the file, which may be the mask.
        message = message.removeprefix(f"{self.path}: ")
        if self.strict:
            raise InputError(f"{self.path}: {message} (an error because of --strict)")
        if message not in self.messages:
            self.messages.append(message)

    def pass_on(self) -> None:
        """Issue all collected warnings, because the scan is accepted."""
        for message in self.messages:
            line = f"{self.path}: {message}"
            if self.warn is None:
                python_warnings.warn(line, ScanWarning, stacklevel=2)
            else:
                self.warn(line)


def _wanted(windows: Windows, resampled: Resampling | None) -> range:
    """The frames of the run that the windows need."""
    first, last = windows.indices(0)[0], windows.indices(len(windows.starts) - 1)[-1]
    if resampled is None:
        return range(first, last + 1)
    return range(int(resampled.first[first]), int(resampled.second[last]) + 1)


def _refuse_empty(path: Path, run: NiftiRun, windows: Windows, resampled: Resampling | None) -> None:
    """Raise InputError for a window without a brain."""
    for number in range(len(windows.starts)):
        indices = windows.indices(number)
        sources = indices if resampled is None else {int(j) for i in indices for j in resampled.sources(i)}
        if not any(run.foreground[i] for i in sources):
            size = "x".join(map(str, run.geometry.size))
            raise InputError(
                f"{path}: expected a brain at the centre of the model's grid {size}, found only background in frames "
                f"{indices[0]} to {indices[-1]}"
            )


def _origin(geometry: Geometry, reading: Reading) -> tuple[float, ...] | None:
    """Position of the oriented volume's first voxel, and the step on each axis, in mm."""
    if reading.placement.point is None:
        return None
    # An array used as stored has the orientation of the data set.
    oriented = reading.placement.orientation if reading.oriented == "keep" else reading.oriented
    steps = [-VOXEL_SIZE if oriented == "LAS" else VOXEL_SIZE, VOXEL_SIZE, VOXEL_SIZE]
    firsts = [
        point - step * (m // 2 - front)
        for point, step, m, front in zip(reading.placement.point, steps, geometry.size, geometry.front, strict=True)
    ]
    return *firsts, *steps


def _placed(reading: Reading, geometry: Geometry) -> dict[str, Any]:
    placement = reading.placement
    return {
        "placement": placement.name,
        "point": None if placement.point is None else list(placement.point),
        "orientation": reading.oriented,
        "paddings": [list(pair) for pair in geometry.paddings],
        "point_distance": geometry.distance,
    }


def _windows(windows: Windows) -> dict[str, Any]:
    return {"starts": list(windows.starts), "frames": windows.frames, "stride": windows.stride, "total": windows.total}
