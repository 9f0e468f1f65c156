"""A program that computes beside the worker, in a temporary folder; both are gone when their owner is."""

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
    """A folder, and the processes started in it: ended and removed with this object, at the latest when Python ends."""

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
        # Closing its input tries once more to say what a program that died did not hear.
        with suppress(BrokenPipeError), process:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
    shutil.rmtree(folder)
