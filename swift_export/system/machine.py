"""Resources of this machine that the process may use."""

from __future__ import annotations

import os

__all__ = ["processors"]


def processors() -> int:
    """The number of processors that this process may use, and so of the threads in a runtime."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
