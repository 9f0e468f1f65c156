"""The manifest of an artifact folder: tool, model, weights, files and measurements."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swift_export._version import __version__
from swift_export.artifacts.layout import FORMATS, MANIFEST, is_inside
from swift_export.errors import ArtifactError
from swift_export.formats.signature import Signature
from swift_export.models import Model
from swift_export.models.provenance import SYNTHETIC_WARNING
from swift_export.scans.contract import InputContract
from swift_export.system.plain_data import MAX_BYTES, SchemaError, decode, dumps, encode, loads

__all__ = [
    "SCHEMA",
    "Artifact",
    "File",
    "Golden",
    "GoldenInput",
    "Manifest",
    "Measurement",
    "ModelRecord",
    "Tool",
    "WeightsRecord",
    "new_manifest",
    "parse_manifest",
    "read_manifest",
]

#: 2 added golden outputs, 3 the input contract as data, 4 models other than SwiFT, with sizes of any unknown dimension.
#: A manifest of an older schema is read as one without these fields.
SCHEMA = 4


@dataclass(frozen=True)
class Tool:
    """The program that last wrote the folder."""

    name: str
    version: str


@dataclass(frozen=True)
class ModelRecord:
    """The model: ``variant`` is its name, ``architecture`` what distinguishes it from others of its family."""

    variant: str
    architecture: Mapping[str, Any]
    licence: str | None
    copyright: str | None
    citation: str | None


@dataclass(frozen=True)
class WeightsRecord:
    """The origin of the weights. ``digest`` covers the tensors that the model uses, ``sha256`` the file;
    ``note`` says that outputs of synthetic weights mean nothing, ``notes`` are the reader's own."""

    kind: str
    name: str
    digest: str
    sha256: str | None
    git_blob: str | None
    seed: int | None
    synthetic: bool
    note: str | None
    notes: tuple[str, ...]
    assumed: Mapping[str, Any]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A file's digest (hex) and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Measurement:
    """The difference of one output of one file from the reference: relative L2, and the largest difference over the
    reference's largest magnitude.

    ``sizes`` are those of the unknown dimensions, ``batch`` the size of the dimension ``batch`` (None without it).
    """

    file: str
    runtime: str
    device: str
    input: str
    batch: int | None
    output: str
    relative_l2: float
    relative_max: float
    tolerance: float
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def known_sizes(self) -> Mapping[str, int]:
        """``sizes``, also for older manifests, which lack them."""
        return self.sizes or ({} if self.batch is None else {"batch": self.batch})


@dataclass(frozen=True)
class GoldenInput:
    """The recipe of one case's inputs: a check's input ``kind``; ``sha256`` is the digest of the values' bytes.

    ``frames`` is the number in SwiFT's clip. Other models have ``sizes`` of the unknown dimensions, and ``ranges`` of
    random integers by input.
    """

    kind: str
    seed: int
    frames: int | None
    sha256: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Golden:
    """The reference's outputs for one case, one file per output, and the check's tolerance for the artifact."""

    input: GoldenInput
    files: Mapping[str, File]
    reference: str
    relative_l2: float
    relative_max: float
    reason: str


@dataclass(frozen=True)
class Artifact:
    """One format: its files (relative to the folder), its making, and the results of its check.

    ``parity`` and ``golden`` are None if it was not checked.
    """

    files: Mapping[str, File]
    settings: Mapping[str, Any]
    signature: Signature
    details: Mapping[str, Any]
    versions: Mapping[str, str]
    parity: tuple[Measurement, ...] | None
    golden: Golden | None = None

    @property
    def recorded(self) -> dict[str, File]:
        """All its files in the artifact folder, golden outputs included."""
        return {**self.files, **(self.golden.files if self.golden else {})}


@dataclass(frozen=True)
class Manifest:
    """The contents of an artifact folder. Two equal exports differ only in ``created``.

    ``input`` is the input contract, ``input_contract`` the contract in words.
    """

    schema: int
    tool: Tool
    created: str
    model: ModelRecord
    weights: WeightsRecord
    input_contract: str | None
    artifacts: Mapping[str, Artifact]
    input: InputContract | None = None

    def to_json(self) -> str:
        """The manifest file's text: sorted keys, ASCII."""
        return dumps(self)

    @property
    def files(self) -> dict[str, File]:
        """Every recorded file of every format, including golden outputs."""
        return {path: file for artifact in self.artifacts.values() for path, file in artifact.recorded.items()}

    def same_weights(self, other: Manifest) -> bool:
        """Whether both have the same weights and architecture, so that their formats may share a folder.

        The input contract must be equal too: for users, files with another input contract belong to another model.
        """
        same = self.weights.digest == other.weights.digest and self.model.architecture == other.model.architecture
        if self.input is None or other.input is None:  # an older version's
            return same
        return same and self.input.same_as(other.input)

    def complemented(self, older: Manifest | None) -> Manifest:
        """This manifest with the formats of ``older`` that it does not replace, if the weights are the same."""
        if older is None or not self.same_weights(older):
            return self
        return replace(self, artifacts={**older.artifacts, **self.artifacts})


def new_manifest(model: Model | Manifest, artifacts: Mapping[str, Artifact]) -> Manifest:
    """The manifest of a new export of ``model``, which another export's manifest may describe."""
    made = Tool("swift-export", __version__), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(model, Manifest):
        return replace(model, schema=SCHEMA, tool=made[0], created=made[1], artifacts=dict(artifacts))
    provenance, card = model.provenance, model.card
    return Manifest(
        schema=SCHEMA,
        tool=made[0],
        created=made[1],
        model=ModelRecord(card.variant, encode(card.architecture), card.licence, card.copyright, card.citation),
        weights=WeightsRecord(
            kind=provenance.kind,
            name=provenance.name,
            digest=model.digest,
            sha256=provenance.sha256,
            git_blob=provenance.git_blob,
            seed=provenance.seed,
            synthetic=provenance.synthetic,
            note=SYNTHETIC_WARNING if provenance.synthetic else None,
            notes=provenance.notes,
            assumed=encode(provenance.assumed),
            dropped=tuple(provenance.dropped),
        ),
        input_contract=card.input_text,
        artifacts=dict(artifacts),
        input=card.input,
    )


def read_manifest(folder: Path) -> Manifest:
    """Read and validate ``folder/manifest.json``.

    Raises ArtifactError if it is absent, unreadable, malformed, oversized, of a newer schema, or names a file outside
    the folder.
    """
    path = folder / MANIFEST
    try:
        # Without blocking: a pipe in the manifest's place must not hang the reader.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{path}: expected a plain file")
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{folder}: expected a folder written by an export, found no {MANIFEST}") from None
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from None
    return parse_manifest(data, path)


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Validate a manifest file's content; ``path`` is named in the ArtifactError."""
    try:
        raw = loads(data)
        found = raw.get("schema") if isinstance(raw, dict) else None
        if isinstance(found, int) and found > SCHEMA:
            raise ArtifactError(
                f"{path}: expected schema {SCHEMA}, found {found}, written by a newer version: upgrade swift-export"
            )
        manifest = decode(Manifest, raw)
        _validate(manifest)
    except SchemaError as error:
        raise ArtifactError(f"{path}: {error}: not a manifest of this tool; export again") from None
    return manifest


def _validate(manifest: Manifest) -> None:
    if manifest.schema < 1:
        raise SchemaError(f"schema: expected 1 to {SCHEMA}, found {manifest.schema}")
    if not _is_sha256(manifest.weights.digest):
        raise SchemaError(f"weights.digest: expected 64 hex digits, found {manifest.weights.digest[:80]!r}")
    if manifest.input:
        try:
            InputContract.from_dict(manifest.input.to_dict())
        except ValueError as error:
            raise SchemaError(f"input: {error}") from None
    for name, artifact in manifest.artifacts.items():
        if name not in FORMATS:
            raise SchemaError(f"artifacts: expected formats {', '.join(FORMATS)}, found {name[:80]!r}")
        _validate_files(artifact.files, f"artifacts.{name}.files", FORMATS[name].folder)
        if artifact.golden:
            _validate_files(artifact.golden.files, f"artifacts.{name}.golden.files", FORMATS[name].golden)


def _validate_files(files: Mapping[str, File], where: str, folder: str) -> None:
    if not files:
        raise SchemaError(f"{where}: expected at least one file")
    for path, file in files.items():
        if not is_inside(path, folder):
            raise SchemaError(f"{where}: expected plain paths below {folder}/, found {path[:80]!r}")
        if not _is_sha256(file.sha256) or file.size < 0:
            raise SchemaError(f"{where}.{path}: expected a sha256 and a size")


def _is_sha256(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None
