"""Drafts: what is being written, under a hidden name beside its place, until it is complete.

A draft is locked as long as its writer lives. What a killed one left is removed by the next in the same folder.
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
#: Between making a draft and locking it a writer needs microseconds.
_YOUNG_S = 60.0


@contextmanager
def new_draft(folder: Path, suffix: str = "") -> Iterator[Path]:
    """An empty file in ``folder``, removed in the end where it has not been moved."""
    draft = _new_name(folder, suffix)
    # Nobody else's file, nor one that a link leads to.
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with _held(descriptor, draft):
        yield draft


@contextmanager
def new_draft_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in ``folder``, removed in the end with what is there by its name."""
    draft = _new_name(folder)
    draft.mkdir()
    with _held(os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), draft):
        yield draft


def _new_name(folder: Path, suffix: str = "") -> Path:
    _remove_dead(folder)
    return folder / f"{DRAFT}{secrets.token_hex(8)}{suffix}"


@contextmanager
def _held(descriptor: int, draft: Path) -> Iterator[None]:
    try:
        with suppress(OSError):  # without locks in the file system none is taken for dead either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
        _remove(draft)


def _remove_dead(folder: Path) -> None:
    for draft in folder.glob(f"{DRAFT}*"):
        with suppress(OSError):  # at work, another user's, or gone
            descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > _YOUNG_S:
                    _remove(draft)
            finally:
                os.close(descriptor)


def _remove(draft: Path) -> None:
    """Delete it; what cannot be deleted is litter for the next writer to try again."""
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink()
