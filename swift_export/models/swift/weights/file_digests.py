"""Digests that identify a weights file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileDigests", "file_digests"]


@dataclass(frozen=True)
class FileDigests:
    """Size in bytes, SHA-256 and git blob id (SHA-1 over ``blob <size>\\0`` and the content) of a file, in hex."""

    size: int
    sha256: str
    git_blob: str


def file_digests(path: Path) -> FileDigests:
    """Compute both digests in one pass over a file."""
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            sha256.update(piece)
            blob.update(piece)
    return FileDigests(size, sha256.hexdigest(), blob.hexdigest())
