"""Names of everything in an artifact folder.

manifest.json                      what the folder holds; renamed into place last
stablehlo/model.jax                jax.export's own form
stablehlo/model.mlir.bc            portable bytecode, dynamic batch
stablehlo/model.b1.mlir.bc         portable bytecode, batch 1
savedmodel/1/                      TF Serving's layout
onnx/model.onnx
golden/<format>/<output>.npy      what the reference gave for one clip; the manifest has the clip's recipe
parity.json parity.md parity.html  what the last check measured

The golden outputs lie in no format's own folder: a server may watch that one, and people copy it around to be served.
"""

from __future__ import annotations

import os
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
_GOLDEN_FOLDER = "golden"


@dataclass(frozen=True)
class Format:
    """One format: the folder it fills and its units, the paths in it that a commit moves into place whole.

    Its golden outputs are one unit more, the folder ``golden``.
    """

    name: str
    folder: str
    units: tuple[str, ...]

    @property
    def golden(self) -> str:
        """The folder of its golden outputs."""
        return f"{_GOLDEN_FOLDER}/{self.name}"

    def unit_of(self, path: str) -> str:
        """The unit that a file of this format is moved with."""
        if is_inside(path, self.golden):
            return self.golden
        return self.folder if self.units == (self.folder,) else path


FORMATS = {
    form.name: form
    for form in (
        Format("stablehlo", "stablehlo", (JAX_FILE, PORTABLE_FILE, PORTABLE_B1_FILE)),
        # A server that watches the folder must see the version appear complete: one rename, not one a file.
        Format("savedmodel", SAVEDMODEL_FOLDER, (SAVEDMODEL_FOLDER,)),
        Format("onnx", "onnx", (ONNX_FILE,)),
    )
}


def find_format(name: str) -> Format:
    """The format of that name; raises UsageError for any other."""
    if name not in FORMATS:
        raise UsageError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def is_inside(path: str, folder: str) -> bool:
    """Whether ``path`` is a plain relative path to something below ``folder`` (both with ``/``).

    False for absolute paths, ``..``, ``.``, empty parts, backslashes and control characters: nothing that
    a manifest from elsewhere names may lead out of the artifact's folder.
    """
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and "\\" not in path and path.isprintable()
    return plain and PurePosixPath(path).is_relative_to(folder) and path != folder


def format_of(path: str) -> str | None:
    """Name of the format that a path relative to the artifact folder belongs to, if any."""
    return next((name for name, form in FORMATS.items() if is_inside(path, form.folder)), None)


def golden_file(form: Format, output: str) -> str:
    """Where what the reference gave as ``output`` lies."""
    return f"{form.golden}/{output}.npy"


def written_files(folder: Path, *below: str) -> list[str]:
    """Every file of an artifact folder that lies below its folders ``below``, sorted, relative to ``folder``.

    Links and special files are listed too: whoever reads them decides.
    """
    found = []
    for start in below:
        for parent, folders, files in os.walk(folder / start):
            linked = [name for name in folders if Path(parent, name).is_symlink()]
            found += [Path(parent, name).relative_to(folder).as_posix() for name in (*files, *linked)]
    return sorted(found)
