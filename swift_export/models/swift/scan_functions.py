"""Scans in Python: the clips of one, computed one by one or written as a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from swift_export.errors import UsageError
from swift_export.models.swift.variants import find_variant
from swift_export.scans import scan as scans
from swift_export.scans.placement import Placement, check_orientation, parse_placement
from swift_export.scans.plausibility import Warn
from swift_export.scans.preparing import DTYPES, FRAMES, GRID, Prepared, prepare_scan
from swift_export.scans.scan import Reading, Scan

__all__ = ["Options", "open_scan", "prepare"]


class Options(TypedDict, total=False):
    """How a scan is read.

    ``placement`` is ``hcp``, ``ukb``, ``abcd`` or a point ``X,Y,Z`` of MNI152 in mm; by default that of ``variant``. It
    brings its ``orientation`` and the frames to be dropped with it, unless others are given. ``frames`` is how many a
    window has, ``windows`` how many to take, by default all, ``start`` where the first one begins, and ``stride`` the
    frames from the start of one to that of the next, by default as many as it has. ``mask`` is a 3D NIfTI,
    ``resample_tr`` a repetition time in s to interpolate to. ``warn`` is told of what may make the features
    meaningless; by default a ScanWarning is issued, and with ``strict`` it is an error.
    """

    placement: str | Placement | None
    variant: str | None
    orientation: str | None
    drop_frames: tuple[int, int] | None
    mask: str | Path | None
    frames: int
    start: int
    windows: int | None
    stride: int | None
    resample_tr: float | None
    allow_crop: bool
    strict: bool
    warn: Warn | None


class _How(TypedDict):
    frames: int
    mask: Path | None
    warn: Warn | None


@contextmanager
def open_scan(scan: str | Path, **options: Unpack[Options]) -> Iterator[Scan]:
    """Read a scan once, for its statistics, and give its windows, which are computed when they are asked for.

        with swift_export.open_scan("sub-01_bold.nii.gz", placement="hcp", mask="sub-01_mask.nii.gz") as scan:
            for window in scan:  # float32 (96, 96, 96, 20)
                ...

    Raises InputError for a scan that does not meet the input contract, UsageError for `Options` that do not fit.
    """
    reading, how = _parsed(scan, **options)
    with scans.open_scan(Path(scan), reading, GRID, **how) as opened:
        yield opened


def prepare(
    scan: str | Path,
    output: str | Path,
    *,
    dtype: Literal["float32", "float16"] = DTYPES[0],
    picture: str | Path | None = None,
    **options: Unpack[Options],
) -> Prepared:
    """Write the windows of a scan as a ``.npy`` array with a sidecar; see `prepare_scan`, and `Options`."""
    reading, how = _parsed(scan, **options)
    drawn = None if picture is None else Path(picture)
    return prepare_scan(Path(scan), Path(output), reading, dtype=dtype, picture=drawn, **how)


def _parsed(
    scan: str | Path,
    placement: str | Placement | None = None,
    variant: str | None = None,
    orientation: str | None = None,
    mask: str | Path | None = None,
    frames: int = FRAMES,
    stride: int | None = None,
    warn: Warn | None = None,
    **more: Any,
) -> tuple[Reading, _How]:
    if placement is None:
        if variant is None:
            raise UsageError(f"{scan}: where its voxels go depends on the training data: give a placement or a variant")
        placement = find_variant(variant).placement
    reading = Reading(
        placement=parse_placement(placement) if isinstance(placement, str) else placement,
        orientation=None if orientation is None else check_orientation(orientation),
        step=stride,
        **more,
    )
    return reading, {"frames": frames, "mask": None if mask is None else Path(mask), "warn": warn}
