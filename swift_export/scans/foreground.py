"""Temporary storage for the foreground of a run, about a quarter of its values, with random access to frames.

The storage is an unnamed file, which disappears when it is closed or the process ends in any way. A run is thus
decompressed once, and neither the run nor its foreground is held in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Bool, Int

from swift_export.errors import MachineError
from swift_export.system.disk import disk_is_full

__all__ = ["ForegroundStore", "foreground_store"]

Pattern = Bool[np.ndarray, " voxels"]


@dataclass(frozen=True)
class _Entry:
    pattern: int
    values: int
    count: int


@dataclass
class ForegroundStore:
    """The foreground voxels of each frame, and their values in the type of the file.

    The ``voxels`` voxels are numbered along one axis. The pattern of foreground voxels is written only if it differs
    from that of the previous frame, which is rare.
    """

    file: IO[bytes]
    voxels: int
    dtype: np.dtype
    _entries: list[_Entry] = field(default_factory=list)
    _last: Pattern | None = None

    def add(self, pattern: Pattern, values: np.ndarray) -> None:
        """Store the foreground of the next frame."""
        if self._last is not None and (pattern is self._last or np.array_equal(pattern, self._last)):
            place = self._entries[-1].pattern
        else:
            place = self._write(np.packbits(pattern))
        self._last = pattern
        self._entries.append(_Entry(place, self._write(values), len(values)))

    def finish(self) -> None:
        """Mark all frames as stored; from now on, threads may read concurrently."""
        self.file.flush()

    def pattern(self, frame: int) -> int:
        """An identifier of the foreground pattern of a frame, for `voxels_of`."""
        return self._entries[frame].pattern

    def voxels_of(self, pattern: int) -> Int[np.ndarray, " foreground"]:
        """The voxel numbers of a pattern, in ascending order."""
        size = (self.voxels + 7) // 8
        packed = np.frombuffer(os.pread(self.file.fileno(), size, pattern), np.uint8)
        return np.flatnonzero(np.unpackbits(packed, count=self.voxels))

    def values(self, frame: int) -> np.ndarray:
        """The foreground values of a frame, in the order of its voxels."""
        entry = self._entries[frame]
        size = entry.count * self.dtype.itemsize
        return np.frombuffer(os.pread(self.file.fileno(), size, entry.values), self.dtype)

    def _write(self, array: np.ndarray) -> int:
        place = self.file.tell()
        self.file.write(np.ascontiguousarray(array).data)
        return place


@contextmanager
def foreground_store(voxels: int, dtype: np.dtype, folder: Path | None) -> Iterator[ForegroundStore]:
    """A store in ``folder``, by default the folder for temporary files; a full disk there is a MachineError."""
    try:
        with tempfile.TemporaryFile(prefix=".swift-export-", dir=folder) as file:
            yield ForegroundStore(file, voxels, dtype)
    except OSError as error:
        # A caller that gives a folder also writes its output there, and reports a full disk itself.
        if folder is not None or not disk_is_full(error):
            raise
        raise MachineError(f"{tempfile.gettempdir()}: the disk is full; free some space or set TMPDIR") from None
