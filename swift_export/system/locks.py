"""Locks between processes; the system releases them when their holder ends, however it does."""

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

#: What the names of everything start with that this tool keeps for itself in a user's folder.
HIDDEN = ".swift-export-"
_LOCK = HIDDEN + "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes; creates it. The lock file goes when the lock does.

    Raises UsageError where something else has the lock file's name.
    """
    path = folder / _LOCK
    with acquired(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def acquired(path: Path) -> IO[bytes]:
    """The lock file at ``path``, created and waited for; its lock is held until it is closed."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = _open(path, os.O_CREAT)
        except FileNotFoundError:
            if path.parent.is_dir():  # a file system in which nothing can be made says so too
                raise
            continue  # another process removed the folder that it had made
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_file_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its last holder removed it while this process waited


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file at ``path``; one that cannot be looked into counts as held."""
    try:
        with _open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):  # another user's: not ours to judge
        return True
    return False


def _open(path: Path, create: int = 0) -> IO[bytes]:
    # Neither following a link that somebody planted nor waiting for the other end of a pipe.
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
    return UsageError(f"{path}: expected a lock file or none, found something else, such as a link; remove it")


def _is_file_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
