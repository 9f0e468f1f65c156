"""Errors of the file system in one line, and the detection of a full disk."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError, UsageError

__all__ = ["DISK_FULL", "concerns", "disk_full", "disk_is_full", "own_errors", "write_error"]

#: Error numbers of a full disk and of an exhausted quota.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: NumPy's message about a partly written array has no error number.
_WRITTEN_IN_PART = re.compile(r"\d+ requested and \d+ written")

_USAGE = {
    errno.EACCES: "cannot be written (permission denied)",
    errno.EPERM: "cannot be written (not permitted)",
    errno.EROFS: "cannot be written (the file system is read-only)",
    errno.ENOTDIR: "expected a folder, found a file in its path",
    errno.EEXIST: "expected a folder, found a file or a broken link",
    errno.EISDIR: "expected a file, found a folder",
    errno.ENOENT: "cannot be written (its folder does not exist and cannot be created)",
    errno.ELOOP: "expected a folder, found a loop of links",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.EFBIG: "cannot be written (the file is too large for the file system or a limit)",
    errno.EBUSY: "cannot be replaced (it is a mount point or in use)",
    errno.ENOTEMPTY: "cannot be replaced (another process wrote to it)",
}


def disk_is_full(error: OSError) -> bool:
    """Whether the file system is full or a quota is exhausted."""
    return error.errno in DISK_FULL or bool(_WRITTEN_IN_PART.search(str(error)))


def disk_full(place: Path) -> MachineError:
    """The error for a disk that is too full to write ``place``."""
    return MachineError(f"{place}: the disk is full; free some space or choose another --output; nothing was changed")


def write_error(place: Path, error: OSError) -> SwiftExportError:
    """The error, in one line, for a failure of the file system while writing ``place``."""
    if disk_is_full(error):
        return disk_full(place)
    if error.errno in _USAGE:
        return UsageError(f"{place}: {_USAGE[error.errno]}; choose another --output")
    return MachineError(f"{place}: cannot be written ({error.strerror or error})")


def concerns(error: OSError, place: Path) -> bool:
    """Whether an error may concern ``place``, its contents or its parents: it names one of them, or no file at all."""
    if not isinstance(error.filename, (str, bytes)):
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    return named.is_relative_to(place.absolute()) or place.absolute().is_relative_to(named)


@contextmanager
def own_errors(place: Path, work: Path | None = None) -> Iterator[None]:
    """Convert errors of the file system while writing ``place`` to one line; errors about other files pass unchanged.

    ``work`` is the folder that is written first, by default ``place`` itself.

    Raises:
        UsageError: ``place`` cannot be written.
        MachineError: the disk is full or broken.

    """
    try:
        yield
    except OSError as error:
        if not concerns(error, work or place):
            raise
        raise write_error(place, error) from None
