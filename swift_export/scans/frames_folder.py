"""The authors' own training volumes: a folder of ``frame_N.pt``, each one float16 tensor (x, y, z, 1).

The volumes are normalised and cropped, and dropped frames are already removed. They only need the padding of the
placement, with the value of their first voxel as background, as in SwiFT's ``datasets.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError, WeightsError
from swift_export.formats.checkpoint.reading import read_tensor
from swift_export.scans.grid import Geometry, stored_geometry
from swift_export.scans.nifti import MAX_FRAMES, MAX_VOXELS
from swift_export.scans.placement import Axes, Placement
from swift_export.scans.run import Columns

__all__ = ["FolderRun", "frame_files", "is_frames_folder", "open_frames_folder"]

_FRAME = re.compile(r"frame_(\d{1,6})\.pt")


@dataclass(frozen=True)
class FolderRun:
    """Frames in separate files, as z values; ``background`` is the value around the brain."""

    path: Path
    files: tuple[Path, ...]
    shape: Axes
    geometry: Geometry
    background: float
    dtype: str

    def columns(self, frames: Sequence[int]) -> Columns:
        """Frames by index in ``files``; raises InputError for a damaged or differing frame."""
        on_grid = np.arange(np.prod(self.geometry.size)).reshape(self.geometry.size)
        values = np.stack([self.geometry.keep(self._volume(frame)).ravel() for frame in frames])
        return Columns(on_grid[self.geometry.target].ravel(), values, self.background)

    def _volume(self, frame: int) -> Float32[np.ndarray, "x y z"]:
        path = self.files[frame]
        values, _ = _read(path)
        if values.shape != self.shape:
            raise InputError(f"{path}: expected shape {self.shape} of the first frame, found {values.shape}")
        if not np.isfinite(values).all():
            raise InputError(f"{path}: expected finite values, found NaN or infinite; prepare the run again")
        return values


def is_frames_folder(path: Path) -> bool:
    """Whether the path is a folder that contains frames."""
    return path.is_dir() and any(map(_FRAME.fullmatch, os.listdir(path)))


def frame_files(path: Path) -> tuple[Path, ...]:
    """The files of the frames, in order; raises InputError if some are missing."""
    numbers = sorted(int(found[1]) for name in os.listdir(path) if (found := _FRAME.fullmatch(name)))
    first, count = numbers[0], len(numbers)
    if numbers != list(range(first, first + count)):
        missing = next(first + i for i, number in enumerate(numbers) if number != first + i)
        raise InputError(f"{path}: expected frames without a gap, found no frame_{missing}.pt; copy the folder again")
    if count > MAX_FRAMES:
        raise InputError(f"{path}: expected at most {MAX_FRAMES} frames, found {count}")
    return tuple(path / f"frame_{number}.pt" for number in numbers)


def open_frames_folder(path: Path, placement: Placement, size: Axes) -> FolderRun:
    """Open the frames; raises InputError if some are missing, or if the placement does not define their shape."""
    files = frame_files(path)
    values, dtype = _read(files[0])
    shape = (int(values.shape[0]), int(values.shape[1]), int(values.shape[2]))
    return FolderRun(
        path, files, shape, stored_geometry(shape, placement, size, str(path)), float(values[0, 0, 0]), dtype
    )


def _read(path: Path) -> tuple[Float32[np.ndarray, "x y z"], str]:
    try:
        tensor = read_tensor(path)
        shape = tensor.shape[:-1] if len(tensor.shape) == 4 and tensor.shape[-1] == 1 else tensor.shape
        if len(shape) != 3 or 0 in shape or np.prod(shape) > MAX_VOXELS:
            raise InputError(f"{path}: expected a volume of shape (x, y, z, 1), found {tensor.shape}")
        if tensor.dtype not in ("float16", "float32", "bfloat16"):
            raise InputError(f"{path}: expected float16 or float32 values, found {tensor.dtype}")
        return tensor.read().astype(np.float32).reshape(shape), tensor.dtype
    except WeightsError as error:
        raise InputError(str(error).replace("a checkpoint file", "a frame").replace("checkpoint", "tensor")) from None
