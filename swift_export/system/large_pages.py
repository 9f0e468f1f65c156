"""Memory in large pages, for programs that pass on messages of many megabytes."""

from __future__ import annotations

import os
import sys

__all__ = ["restart_with_large_pages"]

_VARIABLE = "GLIBC_TUNABLES"
#: Large blocks of malloc in large pages, and all small ones in one place, so that fewer are left half empty.
_TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"


def restart_with_large_pages() -> None:
    """Start this program again, in the same process, with an allocator that asks for large pages.

    Libraries that take a message in several copies, as gRPC does, spend a quarter of their time on faults of small
    pages. glibc reads how to allocate at the start of a process alone. Nothing happens where it is told already, and
    without glibc.
    """
    if _VARIABLE in os.environ or not _has_glibc():
        return
    os.environ[_VARIABLE] = _TUNABLES
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # it runs as well as it did
        del os.environ[_VARIABLE]


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        return False
