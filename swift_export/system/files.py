"""Writing one file: all of it is there in the end, or what was there before."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.system.disk import disk_is_full, own_errors, write_error
from swift_export.system.drafts import new_draft
from swift_export.system.signals import exit_when_terminated, signals_deferred
from swift_export.system.syncing import sync

__all__ = ["check_output", "followed", "is_own", "replaced", "write_text"]


def check_output(output: Path, *, sources: Path | None = None) -> None:
    """Raise UsageError where no file can be written at ``output``, before any work is done for it.

    ``sources`` is what the file is made from, which must not be overwritten by it.
    """
    folder = (followed(output) if output.is_symlink() else output).parent
    if not folder.is_dir():
        found = "found a file" if folder.exists() else "there is none"
        raise UsageError(f"{output}: expected a folder {folder} to write into, {found}; make it or name another")
    if output.is_dir():
        raise UsageError(f"{output}: expected the name of a file, found a folder; name a file in it")
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        raise UsageError(f"{output}: expected a plain file or none, found a device or pipe; name another file")
    if sources is not None and output.exists() and sources.exists() and output.samefile(sources):
        raise UsageError(f"{output}: is what would be read; name another file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{output}: {folder} cannot be written to; name a file in another folder")


def followed(path: Path) -> Path:
    """Where ``path`` is or, as a link, leads to; raises UsageError for links that lead in a circle."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(f"{path}: expected a link to somewhere, found links that lead in a circle; name another file")
    return target


@contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """An empty file beside ``output`` to write to; it takes the place of ``output`` in the end.

    It has the suffix of ``output``. By an error, Ctrl-C or SIGTERM in the block it is removed, and ``output`` is as it
    was. A link stays one: what it leads to is replaced. Of several writers at once each has a file of its own, and the
    last one's stays.

    Raises UsageError where the folder takes no file, MachineError when the disk is full. An OSError of the block about
    another file passes as it is.
    """
    output = followed(output)
    with ExitStack() as stack:
        stack.enter_context(exit_when_terminated())
        with own_errors(output, output.parent):
            draft = stack.enter_context(new_draft(output.parent, output.suffix))
        try:
            yield draft
        except OSError as error:
            if not is_own(error, draft):
                raise
            raise write_error(output, error) from None
        with own_errors(output, output.parent):
            _put(draft, output)


def write_text(path: Path, text: str) -> None:
    """Put a small file in place whole; a link in its place is replaced, not followed. Raises OSError.

    To be called with the folder locked, where others put files there that belong together.
    """
    with new_draft(path.parent, path.suffix) as draft:
        draft.write_text(text, encoding="utf-8")
        _put(draft, path)


def is_own(error: OSError, draft: Path) -> bool:
    """Whether an error arose from writing to ``draft``, or to something in it.

    What names no file is taken for that where only writing says it.
    """
    if isinstance(error.filename, (str, bytes)):
        return Path(os.fsdecode(error.filename)).is_relative_to(draft)
    return disk_is_full(error) or error.errno == errno.EFBIG


def _put(draft: Path, path: Path) -> None:
    sync(draft)
    with signals_deferred():
        draft.replace(path)
        sync(path.parent)
