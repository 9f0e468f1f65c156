"""Resources of this machine that the process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["all_processors", "free_memory", "keep_to_processors", "limit_processors", "processors"]

#: The limit of this process: at most one number.
_limit: list[int] = []


def all_processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processors() -> int:
    """The number of processors for one runtime, and so of its threads: all, unless `limit_processors` set a limit."""
    return min([all_processors(), *_limit])


def limit_processors(count: int) -> None:
    """Let a runtime that is loaded from now on use at most ``count`` processors."""
    _limit[:] = [count]
    # XLA's own variable for the size of its thread pools.
    os.environ["NPROC"] = str(count)


def keep_to_processors(count: int) -> None:
    """Keep this process, and the runtime that it loads from now on, to ``count`` of its processors."""
    # Runtimes count the processors that they may use when they are imported.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    os.environ["OMP_NUM_THREADS"] = str(count)
    limit_processors(count)


def free_memory() -> int | None:
    """Bytes of memory that new processes may take; None if the system does not tell."""
    found = [_available(), _left_in_group()]
    return min((value for value in found if value is not None), default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _left_in_group() -> int | None:
    """What a control group, such as that of a batch job, leaves."""
    group = Path("/sys/fs/cgroup")
    try:
        place = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        limit, used = ((group / place / name).read_text() for name in ("memory.max", "memory.current"))
        return max(int(limit) - int(used), 0)
    except (OSError, ValueError):  # no such group, or no limit
        return None
