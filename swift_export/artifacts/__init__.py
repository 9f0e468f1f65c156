"""Artifacts on disk: their layout, manifest, digests, transactional writing and inspection.

Names are imported when they are used: a runtime's process that needs the layout alone shall hold nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift_export.artifacts.digests import digest_format, verify
    from swift_export.artifacts.facts import Facts, read_facts
    from swift_export.artifacts.inspect import Description, Part, describe, locate
    from swift_export.artifacts.layout import FORMATS, ArtifactError, find_format
    from swift_export.artifacts.manifest import (
        Artifact,
        File,
        Manifest,
        Measurement,
        Signature,
        TensorSpec,
        read_manifest,
    )
    from swift_export.artifacts.writing import Transaction, open_artifact, transaction

_HOMES = {
    "digests": ("digest_format", "verify"),
    "facts": ("Facts", "read_facts"),
    "inspect": ("Description", "Part", "describe", "locate"),
    "layout": ("FORMATS", "ArtifactError", "find_format"),
    "manifest": ("Artifact", "File", "Manifest", "Measurement", "Signature", "TensorSpec", "read_manifest"),
    "writing": ("Transaction", "open_artifact", "transaction"),
}

__all__ = [
    "FORMATS",
    "Artifact",
    "ArtifactError",
    "Description",
    "Facts",
    "File",
    "Manifest",
    "Measurement",
    "Part",
    "Signature",
    "TensorSpec",
    "Transaction",
    "describe",
    "digest_format",
    "find_format",
    "locate",
    "open_artifact",
    "read_facts",
    "read_manifest",
    "transaction",
    "verify",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
