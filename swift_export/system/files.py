"""Atomic writing of a file: the result is the complete new file, or the unchanged old one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.system.disk import disk_is_full, own_errors, write_error
from swift_export.system.drafts import new_draft, new_draft_folder
from swift_export.system.signals import exit_when_terminated, signals_deferred
from swift_export.system.syncing import sync

__all__ = ["check_output", "followed", "is_own", "replaced", "replaced_together", "write_text"]


def check_output(output: Path, *, sources: Path | None = None) -> None:
    """Raise UsageError, before any work is done, if no file can be written at ``output``.

    ``sources`` is the file that the output is made from; it must not be overwritten.
    """
    folder = (followed(output) if output.is_symlink() else output).parent
    if not folder.is_dir():
        found = "found a file" if folder.exists() else "found none"
        raise UsageError(f"{output}: expected an existing folder {folder}, {found}; create it or choose another")
    if output.is_dir():
        raise UsageError(f"{output}: expected a file name, found a folder; name a file in it")
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        raise UsageError(f"{output}: expected a regular file or none, found a device or pipe; name another file")
    if sources is not None and output.exists() and sources.exists() and output.samefile(sources):
        raise UsageError(f"{output}: is also the input; name another file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{output}: {folder} is not writable; name a file in another folder")


def followed(path: Path) -> Path:
    """``path`` or, for a link, its target; raises UsageError for a loop of links."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(f"{path}: expected a path, found a loop of links; name another file")
    return target


@contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """Create an empty file beside ``output`` to write to; on exit it replaces ``output``.

    The file has the suffix of ``output``. After an error, Ctrl-C or SIGTERM in the block, it is removed and ``output``
    is unchanged. A link stays a link, and its target is replaced. Concurrent writers have separate files, and the last
    one wins. An OSError in the block about another file passes unchanged.

    Raises:
        UsageError: no file can be written in the folder.
        MachineError: the disk is full.

    """
    output = followed(output)
    with _replacing(output, new_draft(output.parent, output.suffix), _put) as draft:
        yield draft


@contextmanager
def replaced_together(output: Path) -> Iterator[Path]:
    """As `replaced`, for a file with others beside it that it names: all that the block writes beside the yielded path.

    The others come first, so that ``output`` never names a file that is not there. Their names must tell their content:
    one that exists is not overwritten with another.
    """
    output = followed(output)
    with _replacing(output, new_draft_folder(output.parent), _put_together) as folder:
        yield folder / output.name


@contextmanager
def _replacing(output: Path, new: AbstractContextManager[Path], put: Callable[[Path, Path], None]) -> Iterator[Path]:
    with ExitStack() as stack:
        stack.enter_context(exit_when_terminated())
        with own_errors(output, output.parent):
            draft = stack.enter_context(new)
        try:
            yield draft
        except OSError as error:
            if not is_own(error, draft):
                raise
            raise write_error(output, error) from None
        with own_errors(output, output.parent):
            put(draft, output)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically; a link in its place is replaced, not followed. Raises OSError.

    If other processes write related files there, the caller must hold the lock of the folder.
    """
    with new_draft(path.parent, path.suffix) as draft:
        draft.write_text(text, encoding="utf-8")
        _put(draft, path)


def is_own(error: OSError, draft: Path) -> bool:
    """Whether an error comes from writing to ``draft`` or into it.

    An error that names no file counts if only writing can raise it.
    """
    if isinstance(error.filename, (str, bytes)):
        return Path(os.fsdecode(error.filename)).is_relative_to(draft)
    return disk_is_full(error) or error.errno == errno.EFBIG


def _put(draft: Path, path: Path) -> None:
    sync(draft)
    with signals_deferred():
        draft.replace(path)
        sync(path.parent)


def _put_together(folder: Path, output: Path) -> None:
    drafts = sorted(folder.iterdir(), key=lambda draft: draft.name == output.name)
    for draft in drafts:
        sync(draft)
    with signals_deferred():
        fresh = [path for draft in drafts if not (path := output.with_name(draft.name)).exists()]
        try:
            for draft in drafts:
                draft.replace(output.with_name(draft.name))
        except OSError:
            for path in fresh:
                path.unlink(missing_ok=True)
            raise
        sync(output.parent)
