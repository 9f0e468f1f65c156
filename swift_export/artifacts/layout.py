"""The layout of an artifact folder.

manifest.json                      the contents of the folder; renamed into place last
stablehlo/model.jax                the serialized form of jax.export
stablehlo/model.mlir.bc            portable bytecode, dynamic batch
stablehlo/model.b1.mlir.bc         portable bytecode, batch 1
savedmodel/1/                      TF Serving's layout
onnx/model.onnx
onnx/model.<digest>.data           its weights, if one file cannot hold them
golden/<format>/<output>.npy       reference outputs for one input; the manifest has the recipe of the input
parity.json parity.md parity.html  the results of the last check

Golden outputs are outside the folders of the formats, because a server may watch those, and people copy them to
servers.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swift_export.errors import UsageError

__all__ = [
    "FORMATS",
    "JAX_FILE",
    "MANIFEST",
    "ONNX_FILE",
    "PORTABLE_B1_FILE",
    "PORTABLE_FILE",
    "REPORTS",
    "SAVEDMODEL_FOLDER",
    "Format",
    "find_format",
    "format_of",
    "golden_file",
    "is_below",
    "is_inside",
    "written_files",
]

MANIFEST = "manifest.json"
REPORTS = ("parity.json", "parity.md", "parity.html")

JAX_FILE = "stablehlo/model.jax"
PORTABLE_FILE = "stablehlo/model.mlir.bc"
PORTABLE_B1_FILE = "stablehlo/model.b1.mlir.bc"
SAVEDMODEL_FOLDER = "savedmodel/1"
ONNX_FILE = "onnx/model.onnx"
_ONNX_DATA = re.compile(r"onnx/model\.[0-9a-f]{16}\.data")
_GOLDEN_FOLDER = "golden"


@dataclass(frozen=True)
class Format:
    """One format: its folder and its units, the paths in it that a commit moves into place as a whole.

    The golden outputs, the folder ``golden``, are another unit, and so are files of ``data`` beside the others.
    """

    name: str
    folder: str
    units: tuple[str, ...]
    data: re.Pattern[str] | None = None

    @property
    def golden(self) -> str:
        """The folder of the golden outputs."""
        return f"{_GOLDEN_FOLDER}/{self.name}"

    def is_data(self, path: str) -> bool:
        """Whether a file holds the weights of another one, which names it: it has a digest in its name."""
        return self.data is not None and self.data.fullmatch(path) is not None

    def unit_of(self, path: str) -> str:
        """The unit that contains a file of this format."""
        if is_inside(path, self.golden):
            return self.golden
        return self.folder if self.units == (self.folder,) else path


FORMATS = {
    form.name: form
    for form in (
        Format("stablehlo", "stablehlo", (JAX_FILE, PORTABLE_FILE, PORTABLE_B1_FILE)),
        # A server that watches the folder must see a complete version appear: one rename, not one per file.
        Format("savedmodel", SAVEDMODEL_FOLDER, (SAVEDMODEL_FOLDER,)),
        Format("onnx", "onnx", (ONNX_FILE,), _ONNX_DATA),
    )
}


def find_format(name: str) -> Format:
    """The format with this name; raises UsageError for any other name."""
    if name not in FORMATS:
        raise UsageError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def is_inside(path: str, folder: str) -> bool:
    """Whether ``path`` is a plain relative path to something below ``folder`` (both with ``/``).

    False for absolute paths, ``..``, ``.``, empty parts, backslashes and control characters, so that no name in a
    foreign manifest leads out of the artifact folder.
    """
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and "\\" not in path and path.isprintable()
    return plain and PurePosixPath(path).is_relative_to(folder) and path != folder


def is_below(path: str, place: str) -> bool:
    """Whether ``path`` is ``place`` or lies below it, both relative to the artifact folder, which is ``.``."""
    return place == "." or f"{path}/".startswith(f"{place}/")


def format_of(path: str) -> str | None:
    """Name of the format that contains a path (relative to the artifact folder), or None."""
    return next((name for name, form in FORMATS.items() if is_inside(path, form.folder)), None)


def golden_file(form: Format, output: str) -> str:
    """Path of the reference values for ``output``."""
    return f"{form.golden}/{output}.npy"


def written_files(folder: Path, *below: str) -> list[str]:
    """All files below the folders ``below`` of an artifact folder, sorted, relative to ``folder``.

    Links and special files are included; the reader decides about them.
    """
    found = []
    for start in below:
        for parent, folders, files in os.walk(folder / start):
            linked = [name for name in folders if Path(parent, name).is_symlink()]
            found += [Path(parent, name).relative_to(folder).as_posix() for name in (*files, *linked)]
    return sorted(found)
