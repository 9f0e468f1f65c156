"""Detects the kind of an input of ``convert`` from its content, and names common wrong files in the error."""

from __future__ import annotations

import enum
import hashlib
import struct
from pathlib import Path

from swift_export.formats.bytecode import MLIR, portable_version
from swift_export.formats.metadata import SAVEDMODEL_FILE, XLA_CALL
from swift_export.sources.interface import SourceError

__all__ = [
    "Kind",
    "digest_of",
    "kind_of_bytes",
    "kind_of_folder",
    "read_input",
]


class Kind(enum.Enum):
    """The kinds of input, in words."""

    TEXT = "StableHLO text"
    BYTECODE = "StableHLO in MLIR bytecode"
    PORTABLE = "portable StableHLO artifact"
    EXPORTED = "jax.export file"
    SAVEDMODEL = "SavedModel"


_EXPECTED = (
    "expected a StableHLO module (MLIR text, bytecode or portable artifact), a jax.export file or a SavedModel folder"
)

#: First bytes of files that are often given by mistake, with a description and what to give instead.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (a .keras or PyTorch file?): export the model to StableHLO or a SavedModel first",
    b"\x89HDF": "an HDF5 file (Keras weights?): export the model to StableHLO or a SavedModel first",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\xff\xfe": "text in UTF-16: save it in UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself, with git lfs pull",
    b"HloModule": 'HLO text: lower to StableHLO, in JAX by .as_text("stablehlo")',
}


def read_input(path: Path) -> bytes | None:
    """The content of a file; None for a folder. Raises SourceError if the file cannot be read."""
    try:
        return None if path.is_dir() else path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None


def kind_of_bytes(data: bytes, name: str) -> Kind:
    """The kind of a file; raises SourceError for other files, with their kind if it is known."""
    if data.startswith(MLIR):
        return Kind.PORTABLE if portable_version(data) else Kind.BYTECODE
    if not data.strip():
        raise SourceError(f"{name}: {_EXPECTED}, found an empty file")
    for beginning, words in _FOREIGN.items():
        if data.startswith(beginning):
            raise SourceError(f"{name}: {_EXPECTED}, found {words}")
    if Path(name).name == SAVEDMODEL_FILE:
        raise SourceError(f"{name}: expected a SavedModel folder, found a file inside one; give the folder")
    if _is_text(data):
        return Kind.TEXT
    if _may_be_exported(data):
        return Kind.EXPORTED
    found = "an ONNX file" if name.endswith(".onnx") else "binary data of another kind, or a damaged file"
    raise SourceError(f"{name}: {_EXPECTED}, found {found}")


def kind_of_folder(path: Path) -> Kind:
    """The kind of a folder; raises SourceError unless it is a SavedModel with StableHLO."""
    if (path / SAVEDMODEL_FILE).is_file():
        if XLA_CALL.encode() in (read_input(path / SAVEDMODEL_FILE) or b""):
            return Kind.SAVEDMODEL
        raise SourceError(
            f"{path}: expected a SavedModel with StableHLO in an operator {XLA_CALL}, found none; use "
            "tf2onnx for TensorFlow's own operators"
        )
    versions = sorted(p.name for p in path.iterdir() if p.name.isdigit() and (p / SAVEDMODEL_FILE).is_file())
    if versions:
        raise SourceError(
            f"{path}: expected one SavedModel, found {', '.join(versions)}; give one, such as {path / versions[-1]}"
        )
    raise SourceError(f"{path}: expected a SavedModel, a folder with a file {SAVEDMODEL_FILE}; found no such file")


def digest_of(path: Path, data: bytes | None) -> str:
    """The SHA-256 of a file's content; for a folder, of the lines ``<sha256>  <relative path>`` of its files by path.

    These lines have the format of ``sha256sum``.
    """
    if data is not None:
        return hashlib.sha256(data).hexdigest()
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"), key=lambda p: p.relative_to(path).as_posix())
        if file.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _may_be_exported(data: bytes) -> bool:
    """Whether data begins like jax.export's flatbuffers: they have no magic number, but a root table of many fields."""
    if len(data) < 8:
        return False
    (root,) = struct.unpack_from("<I", data)
    if root + 4 > len(data):
        return False
    (back,) = struct.unpack_from("<i", data, root)
    table = root - back
    if not 4 <= table <= len(data) - 4:
        return False
    size, _ = struct.unpack_from("<HH", data, table)
    # The table of offsets: two numbers and two bytes per field. All versions of jax wrote at least 17 fields.
    return bool(size % 2 == 0 and 4 + 2 * 16 <= size <= 4 + 2 * 64)
