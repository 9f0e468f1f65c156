"""Prepared clips in a ``.npy`` file, mapped into memory after its header is checked; nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from swift_export.errors import InputError
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.text import first_line, shown

__all__ = ["ClipArray", "finite_clip", "map_clips", "other_placement", "read_clips"]

#: What ``prepare`` states about clips, and a file of features states, too.
_KEPT = (
    "source",
    "source_sha256",
    "placement",
    "point",
    "orientation",
    "drop_frames",
    "mask",
    "repetition_time",
    "resample_tr",
    "starts",
    "stride",
    "total",
)


@dataclass(frozen=True, eq=False)
class ClipArray:
    """The clips of a file, each a window of a run. ``facts`` are what its sidecar states, if ``prepare`` wrote it."""

    path: Path
    clips: Float[np.ndarray, "windows 1 h w d t"]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    def __len__(self) -> int:
        return len(self.clips)

    def write(self, number: int, out: Float32[np.ndarray, "h w d t"]) -> None:
        """Copy a clip into ``out``; raises InputError for a value that is not finite."""
        out[...] = finite_clip(self.path, self.clips[number : number + 1], number)[0, 0]


def read_clips(path: Path, size: tuple[int, int, int], frames: int) -> ClipArray:
    """Open the prepared clips of a file for a model with this grid and this number of frames.

    Raises InputError for a damaged file, other values than floats, and clips of another size.
    """
    clips = map_clips(path, (1, *size))
    if clips.shape[5] != frames:
        raise InputError(
            f"{path}: expected clips of {frames} frames, found {clips.shape[5]}; prepare them with --frames {frames}"
        )
    stated = _stated(path, len(clips))
    facts = {"kind": "npy", "stored": str(clips.dtype), "frames": frames, **stated}
    return ClipArray(path, clips, facts)


def other_placement(path: Path, placement: str) -> str | None:
    """A warning about clips that ``prepare`` made for another placement; None if there is no reason for one."""
    try:
        stated = read_sidecar(path.with_suffix(".json")).get("placement")
    except ValueError:  # no sidecar, or a foreign one
        return None
    if isinstance(stated, str) and stated != placement:
        return f"its sidecar states placement {shown(stated)}, but the model expects {placement}"
    return None


def _stated(path: Path, count: int) -> dict[str, Any]:
    """The facts in the sidecar of clips; empty for a foreign sidecar, or one of other clips."""
    try:
        found = read_sidecar(path.with_suffix(".json"))
    except ValueError:
        return {}
    starts = found.get("starts")
    if "swift-export" not in str(found.get("versions")) or not isinstance(starts, list) or len(starts) != count:
        return {}
    return {name: found[name] for name in _KEPT if name in found}


def map_clips(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map the clips in a file, (batch, *shape, frames); one clip may lack the axis of the batch.

    Raises InputError for a damaged file, other values than floats, and another shape.
    """
    stored = _map_npy(path)
    clips = stored[None] if stored.ndim == 5 else stored
    if clips.ndim != 6 or clips.shape[1:5] != shape:
        expected = ", ".join(map(str, shape))
        raise InputError(
            f"{path}: expected shape ({expected}, frames), or a batch of them, found {stored.shape}; see "
            "docs/input-contract.md"
        )
    return clips


def finite_clip(path: Path, stored: np.ndarray, first: int = 0) -> np.ndarray:
    """Clips in float32 and C order, for the input of a model; raises InputError for a value that is not finite.

    ``first`` is the number of the first one in the file.
    """
    with np.errstate(over="ignore"):
        array = np.array(stored, np.float32, order="C")
    broken = ~np.isfinite(array)
    if broken.any():
        clip, *place = (int(i) for i in np.unravel_index(int(np.argmax(broken)), broken.shape))
        raise InputError(
            f"{path}: expected finite values, found {int(np.count_nonzero(broken))} NaN or infinite in float32, the "
            f"first at {(first + clip, *place)} of (batch, c, h, w, d, t)"
        )
    return array


def _map_npy(path: Path) -> np.ndarray:
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
    # The header is a Python literal. Deep nesting exhausts the parser before NumPy sees it.
    except (ValueError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        found = first_line(str(error)) or "a damaged header"
        raise InputError(f"{path}: expected an array of floats in NumPy's .npy format: {found}") from error
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise InputError(f"{path}: expected float16, float32 or float64 values, found {dtype}; convert the array")
    if min(shape, default=0) < 1 or math.prod(shape) * dtype.itemsize > size - offset:
        raise InputError(
            f"{path}: expected values of shape {shape}, as the header states, found {size - offset} B; save it again"
        )
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
