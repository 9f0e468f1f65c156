"""A program that computes for the worker in a temporary folder; both are removed with their owner."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Companion"]


class Companion:
    """A folder and the processes started in it; they are ended and removed with this object, or when Python ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="swift-export-"))
        self._processes: list[subprocess.Popen[str]] = []
        self._finalizer = weakref.finalize(self, _end, self._processes, self.folder)

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program in the folder, with the options of `subprocess.Popen`; its streams are text."""
        process = subprocess.Popen(command, cwd=self.folder, text=True, bufsize=1, **options)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End the processes and remove the folder now."""
        self._finalizer()


def _end(processes: list[subprocess.Popen[str]], folder: Path) -> None:
    for process in processes:
        # Closing its input would flush data that a dead program did not read.
        with suppress(BrokenPipeError), process:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
    shutil.rmtree(folder)
