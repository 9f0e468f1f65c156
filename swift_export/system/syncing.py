"""Flushing data to the disk, so that a rename never becomes visible before the data that it publishes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["sync", "sync_tree"]


def sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # writable but not readable: the system flushes it later
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the answer of file systems that cannot sync folders
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush everything below ``folder`` to the disk."""
    for parent, _, files in os.walk(folder):
        for name in (*files, ""):
            sync(Path(parent, name))
