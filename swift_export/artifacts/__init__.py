"""Artifacts on disk: their layout, manifest, digests, transactional writing and inspection.

Light to import; what reads a format's files imports that format's library when it is used.
"""

from __future__ import annotations

from swift_export.artifacts.digests import digest_format, verify
from swift_export.artifacts.inspect import Description, Part, describe, locate
from swift_export.artifacts.layout import FORMATS, ArtifactError, find_format
from swift_export.artifacts.manifest import Artifact, File, Manifest, Measurement, Signature, TensorSpec, read_manifest
from swift_export.artifacts.writing import Transaction, open_artifact, transaction

__all__ = [
    "FORMATS",
    "Artifact",
    "ArtifactError",
    "Description",
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
    "read_manifest",
    "transaction",
    "verify",
]
