"""Resources of this machine that the process may use."""

from __future__ import annotations

import os

__all__ = ["limit_processors", "processors"]

#: The limit of this process: at most one number.
_limit: list[int] = []


def processors() -> int:
    """The number of processors that this process may use, and so of the threads in a runtime."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([found, *_limit])


def limit_processors(count: int) -> None:
    """Use at most ``count`` processors from now on: before a runtime is loaded, which starts its threads."""
    _limit[:] = [count]
    # XLA's own variable for the size of its thread pools.
    os.environ["NPROC"] = str(count)
