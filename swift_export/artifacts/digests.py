"""Computes digests of an artifact's files and verifies them against the manifest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from swift_export.artifacts.layout import SAVEDMODEL_FOLDER, Format, written_files
from swift_export.artifacts.manifest import File, Manifest
from swift_export.errors import ArtifactError

__all__ = ["digest_file", "digest_format", "verify"]


def digest_file(path: Path) -> File:
    """Size and SHA-256 of a file, read in pieces; raises ArtifactError unless it is a plain, readable file."""
    try:
        # Without following links, so that the digest is that of the folder's own file, and without blocking on a pipe.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError(f"{path}: expected a plain file")
            return File(hashlib.file_digest(file, "sha256").hexdigest(), status.st_size)
    except OSError as error:
        if path.is_symlink():
            raise ArtifactError(f"{path}: expected a plain file, found a link") from None
        raise ArtifactError(f"{path}: {error.strerror}") from None


def digest_format(folder: Path, form: Format) -> dict[str, File]:
    """Digest of every file of one format below ``folder``, by relative path."""
    return {path: digest_file(folder / path) for path in written_files(folder, form.folder)}


def verify(folder: Path, manifest: Manifest, formats: Iterable[str] | None = None) -> list[str]:
    """Verify the files of ``formats`` (default: all recorded ones) against the manifest; return their paths.

    Raises ArtifactError at the first file that is missing, is a link, has another digest, or is in the SavedModel
    without being recorded: TensorFlow also reads files there that no other file names.
    """
    checked = []
    for name in manifest.artifacts if formats is None else formats:
        if name not in manifest.artifacts:
            held = ", ".join(manifest.artifacts) or "none"
            raise ArtifactError(f"{folder}: expected an artifact {name}, found {held}")
        recorded = manifest.artifacts[name].recorded
        for path, expected in recorded.items():
            _refuse_links(folder, path)
            if not (folder / path).exists():
                raise ArtifactError(f"{folder / path}: missing, but recorded in the manifest; export again")
            found = digest_file(folder / path)
            if found != expected:
                raise ArtifactError(
                    f"{folder / path}: changed since its export: expected sha256 {expected.sha256}, "
                    f"found {found.sha256}; export again"
                )
            checked.append(path)
        if name == "savedmodel":
            extra = sorted(set(written_files(folder, SAVEDMODEL_FOLDER)) - set(recorded))
            if extra:
                raise ArtifactError(
                    f"{folder / extra[0]}: not in the manifest, found in {SAVEDMODEL_FOLDER}; remove it or export again"
                )
    return checked


def _refuse_links(folder: Path, path: str) -> None:
    for parent in (folder / path).parents:
        if parent == folder:
            return
        if parent.is_symlink():
            raise ArtifactError(f"{parent}: expected a plain folder, found a link")
