"""Atomic replacement of a folder: at any moment, even after a kill, the old or the new folder is available complete.

Linux exchanges two folders in one step. Other systems need two renames. In between, the old folder stands beside its
place under a hidden name, from which `restored` moves it back.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.system.disk import own_errors, write_error
from swift_export.system.drafts import new_draft_folder
from swift_export.system.files import followed, is_own
from swift_export.system.locks import HIDDEN, locked
from swift_export.system.signals import exit_when_terminated, signals_deferred
from swift_export.system.syncing import sync, sync_tree

__all__ = ["replaced_folder", "restored"]

_RETIRED = HIDDEN + "old-"
#: Constants of Linux's renameat2: the working directory, and the flag for an exchange.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replaced_folder(folder: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Create an empty folder beside ``folder`` to write to; on exit it replaces ``folder``.

    After an error, Ctrl-C or SIGTERM in the block, it is removed and ``folder`` is unchanged. A link stays a link, and
    its target is replaced. ``check`` raises if the existing folder must not be replaced. It is called before the block,
    and again under the lock. An OSError in the block about another file passes unchanged.

    Raises:
        UsageError: the destination cannot be written.
        MachineError: the disk is full.

    """
    folder = followed(folder)
    with ExitStack() as stack:
        stack.enter_context(exit_when_terminated())
        with own_errors(folder.parent):
            with locked(folder.parent), signals_deferred():
                _restore(folder)
                check()
            draft = stack.enter_context(new_draft_folder(folder.parent))
        try:
            yield draft
        except OSError as error:
            if not is_own(error, draft):
                raise
            raise write_error(folder, error) from None
        with own_errors(folder, folder.parent):
            sync_tree(draft)
            with locked(folder.parent), signals_deferred():
                check()
                _put(draft, folder)


def restored(folder: Path) -> None:
    """Move ``folder`` back if a killed process had moved it away to replace it; raises OSError if that fails."""
    if folder.exists():
        return
    try:
        folder = followed(folder)
    except (UsageError, ValueError):  # a loop of links or no valid path: its reader reports that
        return
    if _retired(folder).is_dir():
        with locked(folder.parent), signals_deferred():
            _restore(folder)


def _put(draft: Path, folder: Path) -> None:
    """Move ``draft`` to ``folder``; the old folder may remain under the name of the draft."""
    if not folder.exists():
        draft.rename(folder)
        sync(folder.parent)
    elif _exchange(draft, folder):
        sync(folder.parent)
    else:
        retired = _retired(folder)
        folder.rename(retired)
        try:
            draft.rename(folder)
        except BaseException:
            retired.rename(folder)
            raise
        sync(folder.parent)
        shutil.rmtree(retired, ignore_errors=True)


def _restore(folder: Path) -> None:
    retired = _retired(folder)
    if not retired.is_dir() or retired.is_symlink():
        return
    if folder.exists():  # the new folder is in place: only the clean-up was interrupted
        shutil.rmtree(retired, ignore_errors=True)
    else:
        retired.rename(folder)
        sync(folder.parent)


def _retired(folder: Path) -> Path:
    return folder.with_name(f"{_RETIRED}{folder.name}")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False if the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    done = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(done == 0)
