"""Inspects an artifact folder or a file: the facts in the files, and the manifest's records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swift_export.artifacts.digests import verify
from swift_export.artifacts.layout import FORMATS, MANIFEST, format_of, is_below
from swift_export.artifacts.manifest import Artifact, Manifest
from swift_export.artifacts.writing import open_artifact
from swift_export.errors import ArtifactError
from swift_export.formats.facts import Facts, read_facts

__all__ = ["Description", "Part", "artifact_folder", "describe", "verified_units"]


@dataclass(frozen=True)
class Part:
    """One file, or a SavedModel folder; ``size`` includes files of weights that a file names.

    ``format`` and ``artifact`` are None outside an artifact folder.
    """

    path: str
    size: int
    facts: Facts
    format: str | None
    artifact: Artifact | None


@dataclass(frozen=True)
class Description:
    """The result of ``inspect``; `schema.encode` turns it into plain data.

    ``manifest`` is None for files outside an artifact folder. Otherwise, its digests have been verified.
    """

    path: str
    manifest: Manifest | None
    parts: tuple[Part, ...]


def describe(path: Path) -> Description:
    """Read an artifact folder, one of its files or folders, or a separate file or SavedModel.

    Raises ArtifactError for files that are missing, damaged, foreign, or differ from the manifest.
    """
    folder = artifact_folder(path)
    if folder is None:
        return Description(str(path), None, (_part(path, path.name),))
    manifest, units = verified_units(path, folder)
    return Description(
        str(path),
        manifest,
        tuple(_part(folder / unit, unit, name, manifest.artifacts[name]) for unit, name in units.items()),
    )


def artifact_folder(path: Path) -> Path | None:
    """The artifact folder at ``path``, or around it by the layout; None if there is none."""
    if (path / MANIFEST).is_file():
        return path
    for parent in path.absolute().parents:
        relative = path.absolute().relative_to(parent).as_posix()
        ours = format_of(relative) or any(is_below(form.folder, relative) for form in FORMATS.values())
        if ours and (parent / MANIFEST).is_file():
            return parent
    return None


def verified_units(path: Path, folder: Path) -> tuple[Manifest, dict[str, str]]:
    """The manifest of an artifact folder, and the format of every recorded unit that is, contains or is in ``path``.

    The files of these formats are verified against the manifest. Raises ArtifactError for missing or changed files,
    and if there are no files.
    """
    manifest = open_artifact(folder)
    place = path.absolute().relative_to(folder.absolute()).as_posix()
    units = {
        FORMATS[name].unit_of(file): name
        for name, artifact in sorted(manifest.artifacts.items())
        for file in sorted(artifact.files)
        if is_below(file, place) and not FORMATS[name].is_data(file)
    }
    if not units:
        raise ArtifactError(f"{path}: not recorded in {folder / MANIFEST}; found {', '.join(manifest.artifacts)}")
    verify(folder, manifest, dict.fromkeys(units.values()))
    return manifest, units


def _part(path: Path, name: str, of: str | None = None, artifact: Artifact | None = None) -> Part:
    facts = read_facts(path)
    return Part(name, _size(path) + sum(facts.details.get("data_files", {}).values()), facts, of, artifact)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
