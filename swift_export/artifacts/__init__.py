"""Artifacts on disk: their layout, manifest, digests, transactional writing and inspection.

Names are imported on first use, so that a runtime's process that needs only the layout imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift_export.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from swift_export.artifacts.digests import digest_format, verify
    from swift_export.artifacts.inspect import Description, Part, artifact_folder, describe
    from swift_export.artifacts.layout import FORMATS, find_format
    from swift_export.artifacts.manifest import Artifact, File, Manifest, Measurement, read_manifest
    from swift_export.artifacts.writing import Transaction, open_artifact, transaction

_HOMES = {
    "digest_format": "digests",
    "verify": "digests",
    "Description": "inspect",
    "Part": "inspect",
    "artifact_folder": "inspect",
    "describe": "inspect",
    "FORMATS": "layout",
    "find_format": "layout",
    "Artifact": "manifest",
    "File": "manifest",
    "Manifest": "manifest",
    "Measurement": "manifest",
    "read_manifest": "manifest",
    "Transaction": "writing",
    "open_artifact": "writing",
    "transaction": "writing",
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

__getattr__ = lazy_names(__name__, _HOMES)
