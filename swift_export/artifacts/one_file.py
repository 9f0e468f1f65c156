"""Writing one file: all of it is there in the end, or what was there before."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift_export.artifacts.journal import exit_when_terminated, signals_deferred
from swift_export.disk import disk_is_full
from swift_export.errors import MachineError, UsageError

__all__ = ["check_output", "replaced"]


def check_output(output: Path, *, sources: Path | None = None) -> None:
    """Raise UsageError where no file can be written at ``output``, before any work is done for it.

    ``sources`` is what the file is made from, which must not be overwritten by it.
    """
    folder = output.parent
    if not folder.is_dir():
        found = "found a file" if folder.exists() else "there is none"
        raise UsageError(f"{output}: expected a folder {folder} to write into, {found}; make it or name another")
    if output.is_dir():
        raise UsageError(f"{output}: expected the name of a file, found a folder; name a file in it")
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        raise UsageError(f"{output}: expected a plain file or none, found a device or pipe; name another file")
    if sources is not None and output.exists() and sources.exists() and output.samefile(sources):
        raise UsageError(f"{output}: is what would be read; name another file")
    if not os.access(folder.resolve(), os.W_OK | os.X_OK):
        raise UsageError(f"{output}: {folder} cannot be written to; name a file in another folder")


@contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """A path beside ``output`` to write to; it takes the place of ``output`` where the block ends without an error.

    By an error, Ctrl-C or SIGTERM in the block it is removed, and ``output`` is as it was. Raises UsageError where the
    folder takes no file, MachineError when the disk is full.
    """
    output = output.resolve()  # a link stays one: what it leads to is replaced
    draft = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        with exit_when_terminated():
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            with signals_deferred():
                draft.replace(output)
    except OSError as error:
        if disk_is_full(error):
            raise MachineError(
                f"{output}: the disk is full; free some space or choose another --output; nothing was changed"
            ) from None
        raise UsageError(f"{output}: cannot be written ({(error.strerror or str(error)).lower()})") from None
    finally:
        draft.unlink(missing_ok=True)
