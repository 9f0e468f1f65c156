"""What the file system says to a writer, in one line; and how a full disk is told from its other errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError, UsageError

__all__ = ["DISK_FULL", "concerns", "disk_full", "disk_is_full", "own_errors", "write_error"]

#: What the system calls it.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: Of an array that is written in part NumPy says no more than how far it came.
_WRITTEN_IN_PART = re.compile(r"\d+ requested and \d+ written")

_USAGE = {
    errno.EACCES: "cannot be written (permission denied)",
    errno.EPERM: "cannot be written (not permitted)",
    errno.EROFS: "cannot be written (the file system is read-only)",
    errno.ENOTDIR: "expected a folder, found a file on the way to it",
    errno.EEXIST: "expected a folder, found a file or a link that leads nowhere",
    errno.EISDIR: "expected a file, found a folder",
    errno.ENOENT: "cannot be written (nothing can be made there)",
    errno.ELOOP: "expected a folder, found links that lead in a circle",
    errno.ENAMETOOLONG: "the file system allows no name of that length",
    errno.EFBIG: "cannot be written (the file system or a limit allows no file of that size)",
    errno.EBUSY: "cannot be replaced (something is mounted there)",
    errno.ENOTEMPTY: "cannot be replaced (another process put something there)",
}


def disk_is_full(error: OSError) -> bool:
    """Whether the file system had no room, or a quota none left."""
    return error.errno in DISK_FULL or bool(_WRITTEN_IN_PART.search(str(error)))


def disk_full(place: Path) -> MachineError:
    """What is said when there was no room to write at ``place``."""
    return MachineError(f"{place}: the disk is full; free some space or choose another --output; nothing was changed")


def write_error(place: Path, error: OSError) -> SwiftExportError:
    """One line for what the file system said to whoever wrote at ``place``."""
    if disk_is_full(error):
        return disk_full(place)
    if error.errno in _USAGE:
        return UsageError(f"{place}: {_USAGE[error.errno]}; choose another --output")
    return MachineError(f"{place}: cannot be written ({error.strerror or error})")


def concerns(error: OSError, place: Path) -> bool:
    """Whether an error may be about ``place``, what lies in it or what it lies in: it names that, or no file at all."""
    if not isinstance(error.filename, (str, bytes)):
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    return named.is_relative_to(place.absolute()) or place.absolute().is_relative_to(named)


@contextmanager
def own_errors(place: Path, work: Path | None = None) -> Iterator[None]:
    """Turn what the file system says to writing at ``place`` into one line; errors about other files pass as they are.

    ``work`` is the folder where it is written first, by default ``place`` itself.

    Raises UsageError where nothing can be written there, MachineError when the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        if not concerns(error, work or place):
            raise
        raise write_error(place, error) from None
