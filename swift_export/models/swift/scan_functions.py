"""Python functions for scans: computing the clips one by one, or writing them to a file."""

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
    """Options for reading a scan.

    ``placement`` is ``hcp``, ``ukb``, ``abcd`` or a point ``X,Y,Z`` of MNI152 in mm; by default that of ``variant``. It
    implies the ``orientation`` and the dropped frames, unless others are given. ``frames`` is the number of frames per
    window, ``windows`` the number of windows (default: all), ``start`` the first frame of the first window, and
    ``stride`` the distance between the starts of windows (default: no overlap). ``mask`` is a 3D NIfTI. ``resample_tr``
    is a target repetition time in s. ``warn`` receives conditions that may make the features meaningless. By default a
    ScanWarning is issued; with ``strict`` they are errors.
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
    """Read a scan once for its statistics, and provide its windows, which are computed on request.

        with swift_export.open_scan("sub-01_bold.nii.gz", placement="hcp", mask="sub-01_mask.nii.gz") as scan:
            for window in scan:  # float32 (96, 96, 96, 20)
                ...

    Raises:
        InputError: the scan does not meet the input contract.
        UsageError: one of the `Options` is invalid or does not apply to the scan.

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
            raise UsageError(f"{scan}: the placement depends on the training data; give a placement or a variant")
        placement = find_variant(variant).placement
    reading = Reading(
        placement=parse_placement(placement) if isinstance(placement, str) else placement,
        orientation=None if orientation is None else check_orientation(orientation),
        step=stride,
        **more,
    )
    return reading, {"frames": frames, "mask": None if mask is None else Path(mask), "warn": warn}
