"""The windows of a scan: those of the frames that remain after dropping some and resampling."""

from __future__ import annotations

from pathlib import Path

from swift_export.errors import InputError, UsageError
from swift_export.scans.clip_array import read_clips
from swift_export.scans.clip_windows import Windows, plan_windows
from swift_export.scans.frames_folder import frame_files, is_frames_folder
from swift_export.scans.nifti import open_nifti
from swift_export.scans.placement import Axes
from swift_export.scans.read_options import Reading
from swift_export.scans.timing import RepetitionTime, Resampling, repetition_time, resampling
from swift_export.system.progress import ignore_line

__all__ = ["count_windows", "windows_of_folder", "windows_of_run"]


def count_windows(path: Path, reading: Reading | None, size: Axes, frames: int) -> int:
    """The number of windows of a scan or of prepared clips, from headers alone; raises errors as opening it does."""
    if path.suffix == ".npy":
        return len(read_clips(path, size, frames))
    assert reading is not None, "scans are read by options"
    if is_frames_folder(path):
        return len(windows_of_folder(path, len(frame_files(path)), reading, frames).starts)
    scan = open_nifti(path, as_stored=True)
    time = repetition_time(scan, ignore_line, reading.repetition_time)
    return len(windows_of_run(path, scan.frames, time, reading, frames)[0].starts)


def windows_of_run(
    path: Path, total: int, time: RepetitionTime | None, reading: Reading, frames: int
) -> tuple[Windows, Resampling | None]:
    """The windows of a run of ``total`` frames, and how it is resampled, if it is.

    Raises:
        InputError: the run has too few frames, or no repetition time by which to resample it.
        UsageError: an option is out of range.

    """
    left = _left(path, total, reading.dropped)
    resampled = None
    if reading.resample_tr is not None:
        if time is None:
            raise InputError(
                f"{path}: --resample-tr {reading.resample_tr:g}: expected a repetition time in the header or a "
                "sidecar, found no plausible one; put a .json with RepetitionTime, in seconds, beside the scan"
            )
        resampled = resampling(left, time.seconds, reading.resample_tr)
    return _plan(path, left if resampled is None else len(resampled), frames, reading, reading.dropped), resampled


def windows_of_folder(path: Path, total: int, reading: Reading, frames: int) -> Windows:
    """The windows of a folder of ``total`` frames, likewise."""
    # The authors' folders contain only the frames that were not dropped.
    drop = reading.drop_frames or (0, 0)
    return _plan(path, _left(path, total, drop), frames, reading, drop)


def _left(path: Path, frames: int, drop: tuple[int, int]) -> int:
    if min(drop) < 0:
        raise UsageError(f"--drop-frames {drop[0]},{drop[1]}: expected numbers of frames of at least 0")
    left = frames - sum(drop)
    if left < 1:
        raise InputError(
            f"{path}: expected frames that remain after dropping the first {drop[0]} and the last {drop[1]}, found "
            f"{frames} in total; give a longer run, or use --drop-frames FIRST,LAST"
        )
    return left


def _plan(path: Path, total: int, frames: int, reading: Reading, drop: tuple[int, int]) -> Windows:
    remark = f" after dropping {drop[0]} at the beginning and {drop[1]} at the end" if any(drop) else ""
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
