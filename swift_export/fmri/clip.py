"""A clip: what the model takes, and where it came from. Read from a NIfTI run or from a prepared ``.npy`` array."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from jaxtyping import Float32

from swift_export.backbone.config import SwiFTConfig
from swift_export.errors import InputError, UsageError
from swift_export.fmri.grid import Orientation, check_orientation
from swift_export.fmri.nifti import open_nifti
from swift_export.fmri.prepare import prepare_run

__all__ = ["Clip", "load_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Prepared clips of one file, float32, as the exported model's input ``bold`` takes them.

    ``name`` is the file's name without folders; ``provenance`` is plain data for JSON: how the file became the array.
    """

    name: str
    array: Float32[np.ndarray, "batch c h w d t"]
    provenance: Mapping[str, Any]


def load_clip(
    path: str | Path,
    config: SwiFTConfig,
    frames: int | None = None,
    orientation: str = "LAS",
    mask: str | Path | None = None,
    start: int = 0,
) -> Clip:
    """Read ``frames`` consecutive frames (default: as many as the model takes) from frame ``start`` of a file.

    A ``.nii`` or ``.nii.gz`` is a 4D BOLD run, registered to MNI152 at 2 mm and brain-masked (or given with ``mask``);
    it is oriented, normalised and placed by the input contract. A ``.npy`` holds prepared clips, (C, H, W, D, T) or a
    batch of them, and is taken as it is.

    Raises InputError for a file that does not meet this, UsageError for options that do not fit the file.
    """
    path = Path(path)
    oriented = check_orientation(orientation)
    frames = config.frames if frames is None else frames
    config.check_frames(frames)
    if start < 0:
        raise UsageError(f"start: expected a frame from 0 on, found {start}")
    if path.name.endswith((".nii", ".nii.gz")):
        array, how = _prepare_nifti(path, config, frames, oriented, None if mask is None else Path(mask), start)
    elif path.suffix == ".npy":
        if mask is not None:
            raise UsageError(f"{path}: --mask applies to NIfTI runs; a .npy array is taken as prepared")
        array, how = _read_npy(path, config, frames, start)
    else:
        raise InputError(f"{path}: expected a NIfTI run (.nii, .nii.gz) or a prepared array (.npy)")
    digest = hashlib.sha256(array.astype("<f4", copy=False).data).hexdigest()
    window = {"start": start, "frames": frames}
    return Clip(path.name, array, {"file": path.name, **window, **how, "shape": list(array.shape), "sha256": digest})


def _prepare_nifti(
    path: Path, config: SwiFTConfig, frames: int, orientation: Orientation, mask: Path | None, start: int
) -> tuple[Float32[np.ndarray, "1 c h w d t"], dict[str, Any]]:
    if config.in_chans != 1:
        raise InputError(f"{path}: a BOLD run has one channel, the model takes {config.in_chans}; give a .npy array")
    try:
        import nibabel  # noqa: F401 - the readers import what they use of it
    except ImportError as error:
        raise UsageError(
            f"{path}: reading NIfTI needs nibabel; install it with: pip install 'swift-export[fmri]'"
        ) from error
    scan = open_nifti(path)
    prepared, run = prepare_run(
        scan,
        config.img_size[:3],
        start=start,
        frames=frames,
        orientation=orientation,
        mask=mask,
    )
    return prepared[None, None], {
        "kind": "nifti",
        "grid": list(scan.shape),
        "affine": None if scan.affine is None else scan.affine.tolist(),
        "orientation": orientation,
        "mask": None if mask is None else mask.name,
        "foreground": run.foreground / run.values,
        "mean": run.mean,
        "deviation": run.deviation,
        "background": run.background,
    }


def _read_npy(
    path: Path, config: SwiFTConfig, frames: int, start: int
) -> tuple[Float32[np.ndarray, "batch c h w d t"], dict[str, Any]]:
    stored = _map_npy(path)
    clips = stored[None] if stored.ndim == 5 else stored
    c, h, w, d = config.input_shape()[:4]
    if clips.ndim != 6 or clips.shape[1:5] != (c, h, w, d):
        raise InputError(
            f"{path}: expected shape ({c}, {h}, {w}, {d}, frames), or a batch of them, found {stored.shape}; see "
            "docs/input-contract.md"
        )
    if start + frames > clips.shape[5]:
        raise InputError(
            f"{path}: expected at least {start + frames} frames ({frames} from frame {start}), found {clips.shape[5]}"
        )
    with np.errstate(over="ignore"):
        array = np.array(clips[..., start : start + frames], np.float32, order="C")
    broken = ~np.isfinite(array)
    if broken.any():
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(broken)), broken.shape))
        raise InputError(
            f"{path}: expected finite values, found {int(np.count_nonzero(broken))} NaN or infinite in float32, the "
            f"first at {first} of (batch, c, h, w, d, t)"
        )
    return array, {"kind": "npy", "stored": str(stored.dtype)}


def _map_npy(path: Path) -> np.ndarray:
    """Map the floats of a .npy file; what its header claims is checked before, and no pickle is ever loaded."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in readers:
                raise InputError(f"{path}: expected a .npy file of version 1 or 2, found {version[0]}; save it again")
            shape, fortran, dtype = readers[version](file)
            offset, size = file.tell(), path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    # The header is a Python literal: nested deeply enough, it exhausts the parser before NumPy sees it.
    except (ValueError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        found = (str(error).splitlines() or ["a damaged header"])[0]
        raise InputError(f"{path}: expected an array of floats in NumPy's .npy format: {found}") from error
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise InputError(f"{path}: expected float16, float32 or float64 values, found {dtype}; convert the array")
    if min(shape, default=0) < 1 or math.prod(shape) * dtype.itemsize > size - offset:
        raise InputError(f"{path}: the header claims shape {shape}, the file holds {size - offset} B; save it again")
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
