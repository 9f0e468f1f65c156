"""Memory and processor time of a process, as the system counts them."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

__all__ = ["cpu_seconds", "peak_bytes", "resident_bytes"]


def peak_bytes(pid: int | None = None) -> int:
    """Peak resident memory of a process, or of this one, also if the system does not report other processes."""
    # On Linux, getrusage's figure starts with the forking process's peak; VmHWM is this process's own.
    found = _memory("VmHWM", pid)
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process now, or of this one; the peak if the system does not report it."""
    found = _memory("VmRSS", pid)
    return peak_bytes(pid) if found is None else found


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process so far; 0 if the system does not report it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(figure: str, pid: int | None) -> int | None:
    status = Path(f"/proc/{pid or 'self'}/status")
    if not status.exists():
        return None
    kilobytes = re.findall(rf"^{figure}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    return 1024 * int(kilobytes[0]) if kilobytes else None
