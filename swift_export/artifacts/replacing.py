"""The files that an export may replace: its own earlier ones, never foreign files, and never half a model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from swift_export.artifacts.layout import FORMATS, MANIFEST, REPORTS, Format, golden_file, written_files
from swift_export.artifacts.manifest import Manifest, read_manifest
from swift_export.errors import ArtifactError, UsageError

__all__ = ["current_manifest", "refuse_conflicts", "replaced_units"]


def current_manifest(output: Path, force: bool) -> Manifest | None:
    """The manifest of ``output``; None for an empty folder and, with ``force``, for an unreadable manifest.

    Raises UsageError for a folder with other contents. Hidden files do not count: no export touches them.
    """
    if not os.path.lexists(output / MANIFEST):
        visible = sorted(path.name for path in output.iterdir() if not path.name.startswith("."))
        if visible and not force:
            raise UsageError(
                f"{output}: expected an empty folder or one written by an export, found {visible[0]}; "
                "choose another --output, or use --force to export into it anyway"
            )
        return None
    try:
        return read_manifest(output)
    except ArtifactError as error:
        if force:
            return None
        raise UsageError(f"{error}; choose another --output, or --force to replace it") from None


def refuse_conflicts(
    output: Path, current: Manifest | None, fresh: Manifest, formats: Iterable[str], force: bool
) -> None:
    """Raise UsageError if an export of ``formats`` would mix two models in ``output`` or lose a foreign file."""
    if current and not fresh.same_weights(current) and not force:
        raise UsageError(f"{output}: {_difference(current, fresh)}; choose another --output, or --force to replace it")
    wanted = set(formats)
    recorded = set(current.files) if current else set()
    for form in FORMATS.values():
        for folder in (form.folder, form.golden):
            _refuse_folder(output, folder, form.name in wanted)
        for unit in (*form.units, form.golden):
            _refuse_unit(output, form, unit, recorded, force and form.name in wanted)


def replaced_units(output: Path, current: Manifest | None, fresh: Manifest, added: Iterable[str]) -> list[str]:
    """All units that a commit removes from ``output``: those replaced by ``fresh``, or of another model."""
    gone = set(added)
    if current:
        gone |= set(REPORTS)
        same = fresh.same_weights(current)
        for name, artifact in current.artifacts.items():
            if name in fresh.artifacts or not same:
                gone |= {FORMATS[name].unit_of(path) for path in artifact.recorded}
    return sorted(path for path in gone if os.path.lexists(output / path))


def _difference(current: Manifest, fresh: Manifest) -> str:
    if current.weights.digest != fresh.weights.digest:
        return (
            f"holds other weights ({current.weights.name}, digest {current.weights.digest}) "
            f"than those to export ({fresh.weights.name}, digest {fresh.weights.digest})"
        )
    there, now = current.model.architecture, fresh.model.architecture
    if there == now:
        theirs, ours = (manifest.input.brief if manifest.input else "none" for manifest in (current, fresh))
        return f"states another input contract ({theirs}) than this export ({ours})"
    changes = [f"{name} {there.get(name)} there, {now.get(name)} now" for name in now if there.get(name) != now[name]]
    return f"holds the same weights (digest {fresh.weights.digest}) in another architecture: {', '.join(changes)}"


def _refuse_folder(output: Path, folder: str, wanted: bool) -> None:
    for path in (output / folder, (output / folder).parent):
        if path == output:
            continue
        if path.is_symlink():
            raise UsageError(f"{path}: expected a plain folder, found a link; choose another --output")
        if wanted and path.exists() and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            raise UsageError(f"{path}: expected a folder that can be written; choose another --output")


def _refuse_unit(output: Path, form: Format, unit: str, recorded: set[str], force: bool) -> None:
    target = output / unit
    if unit in (form.folder, form.golden):  # moved as one folder, together with all other files in it
        ours = {golden_file(form, Path(path).stem) for path in written_files(output, form.golden)} if force else set()
        strangers = [path for path in written_files(output, unit) if path not in recorded | ours]
    elif target.is_dir() and not target.is_symlink():
        strangers = [unit + "/"]
    else:
        strangers = [unit] if os.path.lexists(target) and unit not in recorded and not force else []
    if strangers:
        raise UsageError(
            f"{output / strangers[0]}: expected only recorded files here; move it or choose another --output"
        )
