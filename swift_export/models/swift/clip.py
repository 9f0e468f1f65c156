"""Clips, the input of the model, with their provenance, from a NIfTI run or a prepared ``.npy`` array."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError, UsageError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.scans.clip_array import finite_clip, map_clips, other_placement
from swift_export.scans.placement import PLACEMENT_CHOICES, Placement, check_orientation, parse_placement
from swift_export.scans.plausibility import Warn
from swift_export.scans.scan import Doubts, Reading, is_nifti, open_scan

__all__ = ["Clip", "load_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Prepared clips from one file, float32, for the input ``bold`` of the exported model.

    ``name`` is the file name without folders. ``provenance`` states how the array was made, as plain data for JSON.
    """

    name: str
    array: Float32[np.ndarray, "batch c h w d t"]
    provenance: Mapping[str, Any]


def load_clip(
    path: str | Path,
    config: SwiFTConfig,
    frames: int | None = None,
    placement: str | Placement | None = None,
    orientation: str | None = None,
    mask: str | Path | None = None,
    start: int = 0,
    *,
    drop_frames: tuple[int, int] | None = None,
    stride: int = 1,
    resample_tr: float | None = None,
    allow_crop: bool = False,
    strict: bool = False,
    most: int | None = None,
    warn: Warn | None = None,
) -> Clip:
    """Read ``frames`` frames (default: the model's), ``stride`` apart, from frame ``start`` of a scan.

    A ``.nii`` or ``.nii.gz`` is a 4D BOLD run, registered to MNI152 at 2 mm and brain-masked (or given with ``mask``).
    It is oriented, normalised and placed according to the input contract. ``placement`` is ``hcp``, ``ukb``, ``abcd``
    or a point ``X,Y,Z`` in mm; it implies an orientation and the dropped frames, unless others are given. The same
    applies to a folder of ``frame_N.pt``, the authors' own volumes. A ``.npy`` holds prepared clips, (C, H, W, D, T) or
    a batch of them. The first ``most`` of them are used unchanged.

    ``warn`` receives conditions that may make the features meaningless. By default a ScanWarning is issued; with
    ``strict`` they are errors.

    Raises:
        InputError: the file does not meet these requirements.
        UsageError: an option does not apply to the file.

    """
    path = Path(path)
    frames = config.frames if frames is None else frames
    config.check_frames(frames)
    if path.suffix == ".npy":
        if mask is not None:
            raise UsageError(f"{path}: --mask applies only to NIfTI runs; a .npy array is already masked")
        array, how = _read_npy(path, config, frames, start, most)
        if placement is not None:
            _hold_sidecar(path, placement if isinstance(placement, str) else placement.name, strict, warn)
    elif is_nifti(path) or path.is_dir():
        reading = Reading(
            placement=_placement(path, placement),
            orientation=None if orientation is None else check_orientation(orientation),
            drop_frames=drop_frames,
            start=start,
            windows=1,
            stride=stride,
            resample_tr=resample_tr,
            allow_crop=allow_crop,
            strict=strict,
        )
        array, how = _prepare(path, reading, config, frames, None if mask is None else Path(mask), warn)
    else:
        raise InputError(
            f"{path}: expected a NIfTI run (.nii, .nii.gz), a folder of frame_N.pt, or a prepared array (.npy)"
        )
    digest = hashlib.sha256(array.astype("<f4", copy=False).data).hexdigest()
    window = {"start": start, "frames": frames}
    return Clip(path.name, array, {"file": path.name, **how, **window, "shape": list(array.shape), "sha256": digest})


def _hold_sidecar(path: Path, placement: str, strict: bool, warn: Warn | None) -> None:
    """Warn about clips that `prepare` made for another placement."""
    if (line := other_placement(path, placement)) is not None:
        doubt = Doubts(path, strict, warn)
        doubt(line)
        doubt.pass_on()


def _placement(path: Path, given: str | Placement | None) -> Placement:
    if given is None:
        raise UsageError(f"{path}: the placement depends on the training data; give one: {PLACEMENT_CHOICES}")
    return parse_placement(given) if isinstance(given, str) else given


def _prepare(
    path: Path, reading: Reading, config: SwiFTConfig, frames: int, mask: Path | None, warn: Warn | None
) -> tuple[Float32[np.ndarray, "1 c h w d t"], dict[str, Any]]:
    if config.in_chans != 1:
        raise InputError(
            f"{path}: a BOLD run has one channel, but the model takes {config.in_chans}; give a .npy array"
        )
    with open_scan(path, reading, config.img_size[:3], frames, mask=mask, warn=warn) as scan:
        return scan.window(0)[None, None], dict(scan.facts)


def _read_npy(
    path: Path, config: SwiFTConfig, frames: int, start: int, most: int | None
) -> tuple[Float32[np.ndarray, "batch c h w d t"], dict[str, Any]]:
    if start < 0:
        raise UsageError(f"--start {start}: expected a frame number of at least 0")
    c, h, w, d = config.input_shape()[:4]
    clips = map_clips(path, (c, h, w, d))[:most]
    if start + frames > clips.shape[5]:
        raise InputError(
            f"{path}: expected at least {start + frames} frames ({frames} from frame {start}), found {clips.shape[5]}"
        )
    return finite_clip(path, clips[..., start : start + frames]), {"kind": "npy", "stored": str(clips.dtype)}
