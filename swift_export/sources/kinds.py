"""What an input of ``convert`` is, told by its content; and in plain words where it is something else."""

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

#: Beginnings of files that are taken for inputs by mistake, and what to give instead.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (a .keras or PyTorch file?): export the model to StableHLO or a SavedModel first",
    b"\x89HDF": "an HDF5 file (Keras weights?): export the model to StableHLO or a SavedModel first",
    b"HloModule": 'HLO text: lower to StableHLO, in JAX by .as_text("stablehlo")',
}


def read_input(path: Path) -> bytes | None:
    """Content of a file; None for a folder. Raises SourceError for what cannot be read."""
    try:
        return None if path.is_dir() else path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None


def kind_of_bytes(data: bytes, name: str) -> Kind:
    """The kind of a file; raises SourceError, which says what it is instead as far as that can be told."""
    if data.startswith(MLIR):
        return Kind.PORTABLE if portable_version(data) else Kind.BYTECODE
    if not data.strip():
        raise SourceError(f"{name}: {_EXPECTED}, found an empty file")
    for beginning, words in _FOREIGN.items():
        if data.startswith(beginning):
            raise SourceError(f"{name}: {_EXPECTED}, found {words}")
    if Path(name).name == SAVEDMODEL_FILE:
        raise SourceError(f"{name}: part of a SavedModel: give the folder that it lies in")
    if _is_text(data):
        return Kind.TEXT
    if _may_be_exported(data):
        return Kind.EXPORTED
    found = "an ONNX file" if name.endswith(".onnx") else "binary data of another kind, or a damaged file"
    raise SourceError(f"{name}: {_EXPECTED}, found {found}")


def kind_of_folder(path: Path) -> Kind:
    """The kind of a folder; raises SourceError for one that is no SavedModel or holds no StableHLO."""
    if (path / SAVEDMODEL_FILE).is_file():
        if XLA_CALL.encode() in (read_input(path / SAVEDMODEL_FILE) or b""):
            return Kind.SAVEDMODEL
        raise SourceError(
            f"{path}: expected a SavedModel with the operator {XLA_CALL}, which holds StableHLO, as jax2tf writes it; "
            "found none: tf2onnx by itself converts TensorFlow's own operators"
        )
    versions = sorted(p.name for p in path.iterdir() if p.name.isdigit() and (p / SAVEDMODEL_FILE).is_file())
    if versions:
        raise SourceError(f"{path}: holds the SavedModels {', '.join(versions)}: name one, as {path / versions[-1]}")
    raise SourceError(f"{path}: expected a SavedModel, a folder with a file {SAVEDMODEL_FILE}; found none in it")


def digest_of(path: Path, data: bytes | None) -> str:
    """sha256 of a file's content; of a folder, of the lines ``<sha256>  <relative path>`` of its files, sorted by path.

    The latter is what ``sha256sum`` prints for them.
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
    """Whether data begins as jax.export's flatbuffers do, which carry no mark: a root table of many fields."""
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
    # Of the fields' offsets, two bytes each behind two numbers; the least that any version of jax wrote is 17.
    return bool(size % 2 == 0 and 4 + 2 * 16 <= size <= 4 + 2 * 64)
