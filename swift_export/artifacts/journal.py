"""Moves files into place so that a crash at any moment can be undone or finished.

An export works in a hidden folder beside the files that it will replace:

    .swift-export-<random>/
            lock            held as long as the export runs
            new/            the new files, in the layout of an artifact folder
            old/            the replaced files
            journal.json    exists only while files are being moved

The rename of ``new/manifest.json`` is the commit point. Before it, ``journal.json`` records how to undo the moves;
afterwards, only the hidden folder must be removed. Each step of an undo depends only on existing files, so an undo may
itself be interrupted and repeated.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from swift_export.artifacts.layout import FORMATS, MANIFEST, REPORTS, SAVEDMODEL_FOLDER, format_of
from swift_export.errors import ArtifactError
from swift_export.system.locks import HIDDEN, acquired, is_held
from swift_export.system.syncing import sync

__all__ = ["Staging", "commit", "interrupted", "recover"]

_RANDOM_BYTES = 8


class Staging:
    """The hidden folder of one export."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.new = root / "new"
        self.old = root / "old"
        self.journal = root / "journal.json"

    @classmethod
    def create(cls, output: Path) -> tuple[Staging, IO[bytes]]:
        """Create one in ``output``; its lock is held until the returned file is closed.

        The caller must have locked ``output``: `recover` treats a hidden folder without a held lock as dead.
        """
        staging = cls(output / (HIDDEN + secrets.token_hex(_RANDOM_BYTES)))
        staging.root.mkdir()
        file = acquired(staging.lock)
        staging.new.mkdir()
        staging.old.mkdir()
        return staging, file

    @property
    def alive(self) -> bool:
        """Whether its export is still running."""
        return is_held(self.lock)

    def remove(self) -> None:
        """Delete it; the next export tries again to delete remaining files."""
        # The journal gives the other files their meaning, so its deletion comes first and must succeed.
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)


def _stagings(output: Path) -> list[Staging]:
    length = len(HIDDEN) + 2 * _RANDOM_BYTES
    found = [path for path in output.glob(HIDDEN + "*") if len(path.name) == length and not path.is_symlink()]
    return [Staging(path) for path in sorted(found) if path.is_dir()]


def commit(output: Path, staging: Staging, removed: Sequence[str], added: Sequence[str]) -> None:
    """Move ``removed`` out of ``output``, and ``added`` and the manifest from ``staging.new`` in, all or nothing.

    Paths are relative to both. The caller must have locked ``output`` and deferred signals.
    """
    folders = sorted({parent for path in added for parent in _missing_parents(output, path)})
    entries = {"removed": list(removed), "added": list(added), "folders": folders}
    draft = staging.journal.with_suffix(".draft")
    draft.write_text(json.dumps(entries))
    sync(draft)
    draft.rename(staging.journal)
    sync(staging.root)
    try:
        for path in removed:
            _move(output / path, staging.old / path)
        for path in added:
            _move(staging.new / path, output / path)
        for folder in {(output / path).parent for path in (*removed, *added)}:
            sync(folder)
        (staging.new / MANIFEST).replace(output / MANIFEST)
    except BaseException:
        _roll_back(output, staging, entries)
        raise
    sync(output)
    for path in removed:
        _remove_empty((output / path).parent, output)


def recover(output: Path) -> None:
    """Undo or finish the moves of dead exports in ``output``. The caller must have locked it.

    Raises ArtifactError for a journal with paths outside the folder, which no export writes.
    """
    for staging in _stagings(output):
        if staging.alive:
            continue
        if staging.journal.exists() and (staging.new / MANIFEST).exists():
            entries = _read_journal(staging.journal)
            _refuse_links(output, staging, entries)
            _roll_back(output, staging, entries)
        staging.remove()


def interrupted(output: Path) -> bool:
    """Whether a commit in ``output`` is running or was interrupted."""
    return any(staging.journal.exists() for staging in _stagings(output))


def _roll_back(output: Path, staging: Staging, entries: dict[str, list[str]]) -> None:
    for path in entries["added"]:
        if not (staging.new / path).exists():
            _move(output / path, staging.new / path)
    for path in entries["removed"]:
        if (staging.old / path).exists():
            _move(staging.old / path, output / path)
    for path in sorted(entries["folders"], reverse=True):
        _remove_empty(output / path, output)
    for path in (*entries["added"], *entries["removed"]):
        if (output / path).parent.is_dir():
            sync((output / path).parent)


def _read_journal(path: Path) -> dict[str, list[str]]:
    try:
        entries = json.loads(path.read_bytes())
        moved = [*entries["added"], *entries["removed"]]
        whole = (*REPORTS, SAVEDMODEL_FOLDER, *(form.golden for form in FORMATS.values()))
        plain = all(p in whole or format_of(p) for p in moved)
        if not plain or not set(entries["folders"]) <= {q for p in moved for q in _parents(p)}:
            raise ValueError("expected paths of the layout, found others")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{path}: not a journal of this tool ({error}); move {path.parent} away") from None
    return {name: list(entries[name]) for name in ("added", "removed", "folders")}


def _refuse_links(output: Path, staging: Staging, entries: dict[str, list[str]]) -> None:
    """Refuse links: moves back must stay inside the folder."""
    folders = {parent for path in (*entries["added"], *entries["removed"]) for parent in _parents(path)}
    places = [staging.new, staging.old, *(root / f for root in (output, staging.new, staging.old) for f in folders)]
    if links := sorted(place for place in places if place.is_symlink()):
        raise ArtifactError(f"{links[0]}: expected a plain folder, found a link; move {staging.root} away")


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _missing_parents(output: Path, path: str) -> list[str]:
    return [parent for parent in _parents(path) if not (output / parent).is_dir()]


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _remove_empty(folder: Path, above: Path) -> None:
    while folder != above:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone already
            return
        folder = folder.parent
