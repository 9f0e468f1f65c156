"""What this machine lends to the process."""

from __future__ import annotations

import os

__all__ = ["processors"]


def processors() -> int:
    """The processors that this process may use: the threads that a runtime is told to take, or takes unasked."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
