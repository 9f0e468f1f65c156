"""Transactional exports: a folder keeps its old contents or gets all new ones, and never holds two models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from swift_export.artifacts.journal import Staging, commit, interrupted, recover
from swift_export.artifacts.layout import FORMATS, MANIFEST, REPORTS, find_format, written_files
from swift_export.artifacts.manifest import Artifact, Manifest, new_manifest, read_manifest
from swift_export.artifacts.replacing import current_manifest, refuse_conflicts, replaced_units
from swift_export.errors import ArtifactError, SwiftExportError
from swift_export.models import Model
from swift_export.system.disk import DISK_FULL, concerns, disk_full, disk_is_full, own_errors
from swift_export.system.files import write_text
from swift_export.system.locks import locked
from swift_export.system.signals import exit_when_terminated, signals_deferred
from swift_export.system.syncing import sync_tree

__all__ = ["Reports", "Transaction", "open_artifact", "transaction", "write_reports"]

#: Renders a folder's report files (name to text) from its manifest.
Reports = Callable[[Manifest], Mapping[str, str]]


class Transaction:
    """A running export: write artifacts below ``folder``, in the layout of the output folder, then `commit`."""

    def __init__(self, output: Path, staging: Staging, model: Model | Manifest, force: bool) -> None:
        self.folder = staging.new
        self._output = output
        self._staging = staging
        self._model = model
        self._force = force

    def commit(self, artifacts: Mapping[str, Artifact], reports: Reports | None = None) -> Manifest:
        """Publish the files in ``folder`` as ``artifacts``, by format; return the published manifest.

        Existing formats of the same weights outside ``artifacts`` stay, also in the manifest. ``reports`` renders the
        folder's report files; those of earlier exports are removed as outdated. Raises UsageError if another process
        has meanwhile exported other weights into the folder, MachineError if the disk is full; the old contents are
        then unchanged.
        """
        fresh = new_manifest(self._model, artifacts)
        added = [unit for name, artifact in artifacts.items() for unit in _units(self.folder, name, artifact)]
        with own_errors(self._output):
            sync_tree(self.folder)
            with locked(self._output), signals_deferred():
                recover(self._output)
                current = current_manifest(self._output, self._force)
                refuse_conflicts(self._output, current, fresh, artifacts, self._force)
                manifest = fresh.complemented(current)
                texts = {**(reports(manifest) if reports else {}), MANIFEST: manifest.to_json()}
                for name, text in texts.items():
                    (self.folder / name).write_text(text, encoding="utf-8")
                sync_tree(self.folder)
                added += sorted(set(texts) & set(REPORTS))
                removed = replaced_units(self._output, current, fresh, added)
                commit(self._output, self._staging, removed, added)
                self._staging.remove()
        return manifest


@contextmanager
def transaction(
    output: Path, model: Model | Manifest, formats: Iterable[str], *, force: bool = False
) -> Iterator[Transaction]:
    """Stage an export of ``formats`` (names in `FORMATS`) of ``model`` into the folder ``output``, created if absent.

    Without a commit, after an error or an interrupt, all staged files are removed and ``output`` is unchanged.

    Raises UsageError before the block if ``output`` cannot be written, is not a folder, or holds other weights or
    foreign files and ``force`` is not given; foreign files are never deleted. Raises MachineError if the disk is full,
    also in the block.
    """
    names = [find_format(name).name for name in formats]
    with own_errors(output):
        created = [path for path in (output, *output.parents) if not path.exists()]
    staging = lock = None
    try:
        with own_errors(output), locked(output):
            recover(output)
            fresh = new_manifest(model, {})
            refuse_conflicts(output, current_manifest(output, force), fresh, names, force)
            staging, lock = Staging.create(output)
        with exit_when_terminated(), _full_disk(output):
            yield Transaction(output, staging, model, force)
    finally:
        with signals_deferred():
            if staging is not None and lock is not None:
                staging.remove()
                lock.close()
            with suppress(OSError):  # not empty: committed, or others use it
                for path in created:
                    path.rmdir()


def open_artifact(folder: Path) -> Manifest:
    """The manifest of an artifact folder, after completing an interrupted commit.

    Raises ArtifactError for a folder without a valid manifest, or one that must be repaired and cannot be written.
    """
    if interrupted(folder):
        try:
            with locked(folder), signals_deferred():
                recover(folder)
        except OSError as error:
            raise ArtifactError(
                f"{folder}: an export was interrupted while it moved files into place, and this cannot be undone "
                f"({error.strerror}); make the folder writable"
            ) from None
    return read_manifest(folder)


def write_reports(folder: Path, checked: Manifest, reports: Reports) -> list[Path]:
    """Record a check's measurements of the artifacts of ``checked`` in their folder; return the written files.

    Each file is complete or unchanged. Raises ArtifactError if the folder now holds other artifacts, and OSError if it
    cannot be written.
    """
    read_manifest(folder)  # locking would create the folder
    with locked(folder), signals_deferred():
        recover(folder)
        if read_manifest(folder) != checked:
            raise ArtifactError(f"{folder}: was replaced by a newer export during the check; check it again")
        texts = reports(checked)
        for name, text in texts.items():
            write_text(folder / name, text)
    return [folder / name for name in texts]


def _units(folder: Path, name: str, artifact: Artifact) -> list[str]:
    form = FORMATS[name]
    written = written_files(folder, form.folder, form.golden)
    units = {form.unit_of(path) for path in written}
    recorded = sorted(artifact.recorded)
    known = {*form.units, form.golden, *filter(form.is_data, written)}
    if recorded != written or not units <= known:
        raise ValueError(f"{name}: expected the layout's files, recorded {recorded}, written {written}")
    return sorted(units)


@contextmanager
def _full_disk(output: Path) -> Iterator[None]:
    """Report a full disk in one line, also for TensorFlow's and other libraries' own errors."""
    try:
        yield
    except SwiftExportError:
        raise
    except OSError as error:
        if disk_is_full(error) and concerns(error, output):
            raise disk_full(output) from None
        raise
    except Exception as error:
        if any(os.strerror(number) in str(error) for number in DISK_FULL):
            raise disk_full(output) from None
        raise
