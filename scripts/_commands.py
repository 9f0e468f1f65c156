"""The command line in processes of its own, as the measurements run it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["command", "environment", "free_port", "words", "workers_of"]

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments: str | Path, status: int = 0) -> float:
    """Run a command quietly; returns its seconds."""
    begun = time.perf_counter()
    done = subprocess.run(words(*arguments), env=environment(), capture_output=True, text=True)
    if done.returncode != status:
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit status {done.returncode}: {done.stderr}")
    return time.perf_counter() - begun


def words(*arguments: str | Path) -> list[str]:
    """The words of a quiet command."""
    return [sys.executable, "-P", "-m", "swift_export", *map(str, arguments), "--quiet"]


def environment() -> dict[str, str]:
    """The environment of a command: this repository's package."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    """A port of this machine that is free now, for a program that cannot choose one itself."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def workers_of(parent: int) -> list[int]:
    """The processes in which a running ``extract`` computes scans."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            called = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"scan_worker" in called and b"/bin/sh" not in called:
            found.append(int(stat.parent.name))
    return found
