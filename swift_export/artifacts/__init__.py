"""Artifacts on disk: their layout, manifest, digests, transactional writing and inspection.

Names are imported when they are used: a runtime's process that needs the layout alone shall hold nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift_export.artifacts.digests import digest_format, verify
    from swift_export.artifacts.inspect import Description, Part, artifact_folder, describe
    from swift_export.artifacts.layout import FORMATS, find_format
    from swift_export.artifacts.manifest import Artifact, File, Manifest, Measurement, read_manifest
    from swift_export.artifacts.writing import Transaction, open_artifact, transaction

_HOMES = {
    "digests": ("digest_format", "verify"),
    "inspect": ("Description", "Part", "describe", "artifact_folder"),
    "layout": ("FORMATS", "find_format"),
    "manifest": ("Artifact", "File", "Manifest", "Measurement", "read_manifest"),
    "writing": ("Transaction", "open_artifact", "transaction"),
}

__all__ = [
    "FORMATS",
    "Artifact",
    "Description",
    "File",
    "Manifest",
    "Measurement",
    "Part",
    "Transaction",
    "artifact_folder",
    "describe",
    "digest_format",
    "find_format",
    "open_artifact",
    "read_manifest",
    "transaction",
    "verify",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
