"""The foreground of a run, set aside frame by frame: a quarter of what the file holds, and taken in any order later.

It goes into a file without a name, which is gone when it is closed, however the process ends: a run is decompressed
once, and neither it nor its foreground is held in memory.
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
    """Which voxels of each frame are foreground, and their values in the type of the file.

    Voxels are numbered along one axis, ``voxels`` of them. The pattern of voxels is written only where it differs from
    the frame before: in most runs it never does.
    """

    file: IO[bytes]
    voxels: int
    dtype: np.dtype
    _entries: list[_Entry] = field(default_factory=list)
    _last: Pattern | None = None

    def add(self, pattern: Pattern, values: np.ndarray) -> None:
        """Set the next frame's foreground aside."""
        if self._last is not None and (pattern is self._last or np.array_equal(pattern, self._last)):
            place = self._entries[-1].pattern
        else:
            place = self._write(np.packbits(pattern))
        self._last = pattern
        self._entries.append(_Entry(place, self._write(values), len(values)))

    def finish(self) -> None:
        """All frames are there: from now on threads may read side by side."""
        self.file.flush()

    def pattern(self, frame: int) -> int:
        """A number that frames of the same foreground share, for `voxels_of`."""
        return self._entries[frame].pattern

    def voxels_of(self, pattern: int) -> Int[np.ndarray, " foreground"]:
        """The numbers of a pattern's voxels, rising."""
        size = (self.voxels + 7) // 8
        packed = np.frombuffer(os.pread(self.file.fileno(), size, pattern), np.uint8)
        return np.flatnonzero(np.unpackbits(packed, count=self.voxels))

    def values(self, frame: int) -> np.ndarray:
        """The values of a frame's foreground, in the order of its voxels."""
        entry = self._entries[frame]
        size = entry.count * self.dtype.itemsize
        return np.frombuffer(os.pread(self.file.fileno(), size, entry.values), self.dtype)

    def _write(self, array: np.ndarray) -> int:
        place = self.file.tell()
        self.file.write(np.ascontiguousarray(array).data)
        return place


@contextmanager
def foreground_store(voxels: int, dtype: np.dtype, folder: Path | None) -> Iterator[ForegroundStore]:
    """A store in ``folder``, by default the one for temporary files, where a full disk is a MachineError."""
    try:
        with tempfile.TemporaryFile(prefix=".swift-export-", dir=folder) as file:
            yield ForegroundStore(file, voxels, dtype)
    except OSError as error:
        # Whoever names a folder writes there, and says so in the name of what is written.
        if folder is not None or not disk_is_full(error):
            raise
        raise MachineError(f"{tempfile.gettempdir()}: the disk is full; free some space or set TMPDIR") from None
