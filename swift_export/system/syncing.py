"""Forcing what was written to the disk: no rename may overtake the data it publishes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["sync", "sync_tree"]


def sync(path: Path) -> None:
    """Force a file's content, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # one that may be written and not listed: it is synced when the system likes
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders says so like this
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force everything below ``folder`` to the disk."""
    for parent, _, files in os.walk(folder):
        for name in (*files, ""):
            sync(Path(parent, name))
