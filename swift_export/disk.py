"""How a full disk is told from other errors of the file system."""

from __future__ import annotations

import errno
import re

__all__ = ["DISK_FULL", "disk_is_full"]

#: What the system calls it.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: Of an array that is written in part NumPy says no more than how far it came.
_WRITTEN_IN_PART = re.compile(r"\d+ requested and \d+ written")


def disk_is_full(error: OSError) -> bool:
    """Whether the file system had no room, or a quota none left."""
    return error.errno in DISK_FULL or bool(_WRITTEN_IN_PART.search(str(error)))
