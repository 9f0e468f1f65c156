"""Locks between processes; the system releases them when their holder ends in any way."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from swift_export.errors import UsageError

__all__ = ["HIDDEN", "acquired", "is_held", "locked"]

#: Prefix of all internal files that this tool keeps in a user's folder.
HIDDEN = ".swift-export-"
_LOCK = HIDDEN + "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` against other processes, and create it if needed. The lock file is removed with the lock.

    Raises:
        UsageError: something other than a file has the name of the lock file.

    """
    path = folder / _LOCK
    with acquired(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def acquired(path: Path) -> IO[bytes]:
    """Create the lock file at ``path`` and wait for its lock, which is held until the file is closed."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = _open(path, os.O_CREAT)
        except FileNotFoundError:
            if path.parent.is_dir():  # some file systems report a failed creation like this
                raise
            continue  # another process removed the folder that it had created
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_file_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the last holder removed it while this process waited


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file at ``path``; an inaccessible file counts as held."""
    try:
        with _open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):  # owned by another user: state unknown
        return True
    return False


def _open(path: Path, create: int = 0) -> IO[bytes]:
    # Do not follow a planted link, and do not wait for the other end of a pipe.
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | create
    try:
        file = open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o666))  # noqa: SIM115 - the caller closes it
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_lock(path) from None
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_lock(path)
    return file


def _no_lock(path: Path) -> UsageError:
    return UsageError(f"{path}: expected a lock file or none, found something else (such as a link); remove it")


def _is_file_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
