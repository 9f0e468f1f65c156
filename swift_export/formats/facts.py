"""Reads the facts in a file of any format without running it.

Every file is read in a separate process, ``python -m swift_export.formats.facts PATH``: LLVM ends the process on
some damaged bytecode, and TensorFlow prints messages during its import.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.errors import ArtifactError
from swift_export.formats.metadata import SAVEDMODEL_FILE
from swift_export.formats.signature import Signature
from swift_export.system.plain_data import SchemaError, decode, dumps, loads
from swift_export.system.processes import ModuleProcess
from swift_export.system.text import shown

__all__ = ["Facts", "histogram", "main", "read_facts"]

#: Description, module and function for each kind of file, by suffix; a folder is a SavedModel.
_READERS = {
    ".onnx": ("an ONNX model", "onnx", "read_onnx"),
    ".jax": ("a function that jax.export wrote", "stablehlo", "read_exported"),
    ".mlir.bc": ("portable StableHLO bytecode", "stablehlo", "read_portable"),
    "": ("a SavedModel", "savedmodel", "read_savedmodel"),
}
_DAMAGED, _NEEDS_EXTRA, _ENDLESS = 3, 4, 5
#: Largest size of a file's facts as JSON, metadata included. Those of exports take about 10 kB.
MAX_FACTS = 64 * 2**20


@dataclass(frozen=True)
class Facts:
    """The kind and the signature of a file or SavedModel folder, and further facts by name.

    ``signature`` is None if this machine cannot read it; ``details["note"]`` then names the missing package.
    """

    kind: str
    signature: Signature | None
    details: Mapping[str, Any]


def read_facts(path: Path) -> Facts:
    """Read a ``.onnx``, ``.jax`` or ``.mlir.bc`` file or a SavedModel folder.

    Raises ArtifactError for anything else and for a damaged file.
    """
    suffix = _suffix(path)
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {"PYTHONIOENCODING": "utf-8:backslashreplace", "JAX_PLATFORMS": "cpu"}
    with ModuleProcess(__name__, str(path), environment=environment, **streams) as reader:
        said, complained = reader.process.communicate()
        status = reader.process.returncode
    if status == _NEEDS_EXTRA:
        note = "its signature needs TensorFlow to be read: pip install 'swift-export[savedmodel]'"
        return Facts("savedmodel", None, {"note": note})
    if status == _ENDLESS:
        raise ArtifactError(f"{path}: expected at most {MAX_FACTS} bytes of names and metadata, found more")
    if status == _DAMAGED or status < 0:
        lines = said.decode(errors="replace").strip().splitlines() or [f"its reader died of signal {-status}"]
        raise ArtifactError(f"{path}: expected {_READERS[suffix][0]}, found a damaged or foreign file ({lines[0]})")
    if status:
        lines = complained.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ArtifactError(f"{path}: cannot be read ({lines[-1]})")
    try:
        return decode(Facts, loads(said, MAX_FACTS))
    except SchemaError as error:
        raise ArtifactError(f"{path}: cannot be described ({shown(error)})") from None


def main(path: Path) -> int:
    """Print the facts of ``path`` as JSON, or the reason of a failure; return the exit status."""
    _, module, function = _READERS[_suffix(path)]
    try:
        read = getattr(importlib.import_module(f"swift_export.formats.{module}"), function)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tensorflow":
            raise
        return _NEEDS_EXTRA
    try:
        text = _as_json(read(path))
    except OSError:
        raise
    except Exception as error:  # without checksums, damage shows as any error of the reader
        print(shown(error, 500) or type(error).__name__)
        return _DAMAGED
    if len(text) > MAX_FACTS:
        return _ENDLESS
    print(text)
    return 0


def _as_json(facts: Facts) -> str:
    try:
        return dumps(facts)
    except TypeError:  # protobuf returns a name that is not UTF-8 as bytes
        raise ValueError("expected names in UTF-8, found other bytes") from None


def histogram(names: Iterable[str]) -> dict[str, int]:
    """The number of occurrences of each name, by name."""
    return dict(sorted(Counter(names).items()))


def _suffix(path: Path) -> str:
    if not path.exists():
        raise ArtifactError(f"{path}: no such file or folder")
    for suffix in filter(None, _READERS):
        if path.name.endswith(suffix) and path.is_file():
            return suffix
    if (path / SAVEDMODEL_FILE).is_file():
        return ""
    known = ", ".join(filter(None, _READERS))
    raise ArtifactError(f"{path}: expected a {known} file, a SavedModel folder or an artifact folder")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
