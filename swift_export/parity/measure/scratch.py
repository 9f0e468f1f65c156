"""The temporary folder of a check's inputs and outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift_export.errors import MachineError
from swift_export.system.disk import disk_is_full
from swift_export.system.signals import exit_when_terminated, signals_deferred

__all__ = ["new_folder", "scratch_folder"]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed afterwards; a full disk is a MachineError.

    It is removed after Ctrl-C, SIGTERM and SIGHUP too, but not after SIGKILL.
    """
    try:
        with exit_when_terminated():
            folder = tempfile.TemporaryDirectory(prefix="swift-export-")
            try:
                yield Path(folder.name)
            finally:
                with signals_deferred():
                    folder.cleanup()
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise MachineError(f"{tempfile.gettempdir()}: the disk is full; free some space or set TMPDIR") from None


def new_folder(folder: Path) -> Path:
    """Create and return it."""
    folder.mkdir()
    return folder
