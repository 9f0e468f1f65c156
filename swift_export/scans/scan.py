"""A scan as the model takes it: windows of frames on the model's grid, computed when they are asked for.

A scan is a NIfTI run, or a folder of the authors' own ``frame_N.pt``.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError, UsageError
from swift_export.scans.clip_windows import Windows, plan_windows
from swift_export.scans.frames_folder import is_frames_folder, open_frames_folder
from swift_export.scans.grid import VOXEL_SIZE, Geometry, geometry_of
from swift_export.scans.mask import read_mask
from swift_export.scans.nifti import open_nifti
from swift_export.scans.placement import Axes, Orientation, Placement
from swift_export.scans.plausibility import ScanWarning, Warn, doubts, tr_doubts
from swift_export.scans.run import Columns, NiftiRun, Progress, measured
from swift_export.scans.timing import RepetitionTime, Resampling, repetition_time, resampling

__all__ = ["Doubts", "Reading", "Scan", "is_nifti", "open_scan"]

Window = Float32[np.ndarray, "h w d t"]


@dataclass(frozen=True)
class Reading:
    """How scans are read.

    Attributes:
        placement: where their voxels go.
        orientation: that they are brought to; None: the placement's.
        drop_frames: left out at the beginning and at the end, of statistics and windows; None: the placement's.
        start: where the first window begins, in frames of what is left.
        windows: how many to take; None: all.
        step: frames from the start of one window to that of the next; None: no overlap.
        stride: frames between the frames of a window.
        resample_tr: the repetition time in s to interpolate to; None: the run's own.
        allow_crop: cut voxels that are not background.
        strict: take warnings for errors.

    """

    placement: Placement
    orientation: Orientation | None = None
    drop_frames: tuple[int, int] | None = None
    start: int = 0
    windows: int | None = None
    step: int | None = None
    stride: int = 1
    resample_tr: float | None = None
    allow_crop: bool = False
    strict: bool = False

    @property
    def oriented(self) -> Orientation:
        """The orientation that holds."""
        return self.orientation or self.placement.orientation

    @property
    def dropped(self) -> tuple[int, int]:
        """The frames of a NIfTI run that are left out; of a folder of frames only what ``drop_frames`` says is."""
        return self.placement.drop_frames if self.drop_frames is None else self.drop_frames


class _Run(Protocol):
    """A source of frames, in z values on the model's grid."""

    def columns(self, frames: Sequence[int]) -> Columns: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """An opened scan; iterating over it, or `window`, computes its windows.

    ``facts`` are plain data for JSON: how the scan became the windows. ``warnings`` tell what may make their features
    meaningless. ``run`` is what was measured of a NIfTI run, None for a folder of frames.
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
        """Compute a window into ``out``, C-contiguous. Windows may be computed side by side in threads."""
        indices = self.windows.indices(number)
        columns = self._run.columns(indices) if self._resampling is None else self._resampled(indices)
        flat = out.reshape(-1, len(indices))
        flat[...] = columns.background
        # A voxel's frames lie side by side: turned before, they are written as a whole.
        flat[columns.voxels] = np.ascontiguousarray(columns.values.T)

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
    """Whether its name is that of a NIfTI file, in whatever case."""
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
    tell: Progress = lambda what: None,
) -> Iterator[Scan]:
    """Read a scan once, for its statistics, and give its windows as long as the block lasts.

    Args:
        path: a NIfTI run, registered to MNI152 at 2 mm and brain-masked (or given with ``mask``), or a folder of
            ``frame_N.pt``.
        reading: how.
        size: voxels of the model's grid.
        frames: of a window.
        mask: a 3D NIfTI on the scan's grid; what it leaves out becomes background.
        spool: folder for what is unpacked of a compressed file; by default the one for temporary files.
        warn: is told of what may make the features meaningless; by default a ScanWarning is issued.
        tell: is told what is being done.

    Raises InputError for a scan that does not meet the input contract, UsageError for options that do not fit it.
    """
    doubt = Doubts(path, reading.strict, warn)
    if is_frames_folder(path):
        if mask is not None:
            raise UsageError(f"{path}: --mask applies to NIfTI runs; the frames of a folder are taken as prepared")
        yield _folder(path, reading, size, frames, doubt)
        return
    _need_nibabel(path)
    scan = open_nifti(path, as_stored=reading.oriented == "keep")
    if len(scan.shape) != 4:
        raise InputError(f"{path}: expected a 4D run, found one volume of shape {scan.shape}; give the BOLD run")
    geometry = geometry_of(scan, reading.placement, reading.oriented, size)
    for note in scan.notes:
        doubt(note)
    drop = reading.dropped
    time = repetition_time(scan, doubt)
    for line in tr_doubts(time, reading.resample_tr):
        doubt(line)
    left = _left(path, scan.frames, drop)
    resampled = _resampled(path, left, time, reading)
    windows = _plan(path, left if resampled is None else len(resampled), frames, reading, drop)
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
        tell=tell,
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
            "warnings": list(doubt.told),
        }
        yield Scan(path.name, size, windows, facts, tuple(doubt.told), run, run, resampled)


def _folder(path: Path, reading: Reading, size: Axes, frames: int, doubt: Doubts) -> Scan:
    if reading.resample_tr is not None:
        raise UsageError(f"{path}: --resample-tr needs a repetition time, which a folder of frames does not tell")
    run = open_frames_folder(path, reading.placement, size)
    # The authors' files are those of the frames that were not dropped.
    drop = reading.drop_frames or (0, 0)
    left = _left(path, len(run.files), drop)
    windows = _plan(path, left, frames, reading, drop)
    shifted = Windows(tuple(start + drop[0] for start in windows.starts), frames, windows.stride, windows.total)
    smallest = float(run.columns([0]).values.min())
    if smallest < run.background:
        doubt(
            f"the first voxel ({run.background:.3g}), taken for background, is not the smallest value "
            f"({smallest:.3g}): are the frames cropped and normalised as the authors' are?"
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
        "warnings": list(doubt.told),
    }
    return Scan(path.resolve().name, size, shifted, facts, tuple(doubt.told), None, run)


@dataclass
class Doubts:
    """Gathers warnings about a scan, each once, until it is accepted: one that is refused gets its error alone.

    With ``strict`` the first one is an error. Without ``warn``, who is told of them, ScanWarnings are issued.
    """

    path: Path
    strict: bool
    warn: Warn | None = None
    told: list[str] = field(default_factory=list)

    def __call__(self, message: str) -> None:
        """Note it; raises InputError with ``strict``."""
        # What readers of files tell begins with the file's name, which may be the mask's.
        message = message.removeprefix(f"{self.path}: ")
        if self.strict:
            raise InputError(f"{self.path}: {message} (an error by --strict)")
        if message not in self.told:
            self.told.append(message)

    def pass_on(self) -> None:
        """Tell of all that was noted: the scan is accepted."""
        for message in self.told:
            line = f"{self.path}: {message}"
            if self.warn is None:
                python_warnings.warn(line, ScanWarning, stacklevel=2)
            else:
                self.warn(line)


def _need_nibabel(path: Path) -> None:
    try:
        import nibabel  # noqa: F401 - the readers import what they use of it
    except ImportError as error:
        raise UsageError(
            f"{path}: reading NIfTI needs nibabel; install it with: pip install 'swift-export[fmri]'"
        ) from error


def _left(path: Path, frames: int, drop: tuple[int, int]) -> int:
    if min(drop) < 0:
        raise UsageError(f"--drop-frames {drop[0]},{drop[1]}: expected numbers of frames from 0 on")
    left = frames - sum(drop)
    if left < 1:
        raise InputError(
            f"{path}: of its {frames} frames the first {drop[0]} and the last {drop[1]} are dropped, and none is left; "
            "give a longer run, or --drop-frames FIRST,LAST"
        )
    return left


def _plan(path: Path, total: int, frames: int, reading: Reading, drop: tuple[int, int]) -> Windows:
    remark = f", after {drop[0]} dropped at the beginning and {drop[1]} at the end" if any(drop) else ""
    return plan_windows(
        total,
        frames,
        name=str(path),
        left=remark,
        stride=reading.stride,
        start=reading.start,
        count=reading.windows,
        step=reading.step,
    )


def _resampled(path: Path, frames: int, time: RepetitionTime | None, reading: Reading) -> Resampling | None:
    if reading.resample_tr is None:
        return None
    if time is None:
        raise InputError(
            f"{path}: --resample-tr {reading.resample_tr:g}: neither the header nor a sidecar states a "
            "plausible repetition time of the run; put a .json with RepetitionTime, in seconds, beside it"
        )
    return resampling(frames, time.seconds, reading.resample_tr)


def _wanted(windows: Windows, resampled: Resampling | None) -> range:
    """The frames of the run that windows are computed from."""
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
                f"{path}: frames {indices[0]} to {indices[-1]} hold background alone on the model's grid {size}; "
                "expected a brain at the grid's centre"
            )


def _origin(geometry: Geometry, reading: Reading) -> tuple[float, ...] | None:
    """Where the oriented volume's first voxel lies in mm, and the mm a step on each axis."""
    if reading.placement.point is None:
        return None
    # An array taken as stored is one of the data set's.
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
