"""Drafts: files and folders that are written under a hidden name beside their destination until they are complete.

A draft is locked while its writer lives. Drafts of killed writers are removed by the next writer in the same folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swift_export.system.locks import HIDDEN

__all__ = ["DRAFT", "new_draft", "new_draft_folder"]

DRAFT = HIDDEN + "draft-"
#: Age in seconds below which an unlocked draft is kept. A writer locks its draft within microseconds.
_YOUNG_S = 60.0


@contextmanager
def new_draft(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Create an empty file in ``folder``; on exit it is removed unless it was moved."""
    draft = _new_name(folder, suffix)
    # Neither an existing file nor the target of a link.
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with _locked_draft(descriptor, draft):
        yield draft


@contextmanager
def new_draft_folder(folder: Path) -> Iterator[Path]:
    """Create an empty folder in ``folder``; on exit, whatever has its name is removed."""
    draft = _new_name(folder)
    draft.mkdir()
    with _locked_draft(os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), draft):
        yield draft


def _new_name(folder: Path, suffix: str = "") -> Path:
    _remove_dead(folder)
    return folder / f"{DRAFT}{secrets.token_hex(8)}{suffix}"


@contextmanager
def _locked_draft(descriptor: int, draft: Path) -> Iterator[None]:
    try:
        with suppress(OSError):  # without file locks, no draft is considered dead either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
        _remove(draft)


def _remove_dead(folder: Path) -> None:
    for draft in folder.glob(f"{DRAFT}*"):
        with suppress(OSError):  # in use, owned by another user, or gone
            descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > _YOUNG_S:
                    _remove(draft)
            finally:
                os.close(descriptor)


def _remove(draft: Path) -> None:
    """Delete a draft; if that fails, the next writer tries again."""
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink()
