"""Extras: told early and by name where they are missing, installed where scripts/swift-export is the caller."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from swift_export.errors import UsageError

__all__ = ["EXTRAS", "Extra", "need_extra"]


@dataclass(frozen=True)
class Extra:
    """What an extra must have made importable, and what it is good for."""

    packages: tuple[str, ...]
    adds: str

    def absent(self) -> list[str]:
        """The packages that are not here; none is imported but for the packages around them."""
        return [package for package in self.packages if not _importable(package)]


EXTRAS = {
    "savedmodel": Extra(("tensorflow", "tf2onnx"), "SavedModels: exporting them, TensorFlow, its C API"),
    "fmri": Extra(("nibabel",), "NIfTI scans as inputs"),
    "openvino": Extra(("openvino",), "ONNX files in OpenVINO"),
    "iree": Extra(("iree.compiler", "iree.runtime"), "StableHLO files in IREE"),
    "gpu": Extra(("jax_plugins.xla_cuda13",), "JAX, ONNX Runtime and TensorFlow on NVIDIA GPUs"),
}
#: Set by scripts/swift-export: its own path, and the extras that it has installed on this command's demand.
_LAUNCHER, _INSTALLED = "SWIFT_EXPORT_LAUNCHER", "SWIFT_EXPORT_EXTRAS"


def need_extra(extra: str, why: str) -> None:
    """Go on only where an extra is installed.

    Raises UsageError that names what to install. Run by scripts/swift-export, the process instead goes back to it, to
    install the extra and to begin this command again: so call this before anything is done.
    """
    absent = EXTRAS[extra].absent()
    if not absent:
        return
    launcher, installed = os.environ.get(_LAUNCHER), os.environ.get(_INSTALLED, "").split()
    if launcher and extra not in installed:
        sys.stdout.flush()
        os.environ[_INSTALLED] = " ".join([*installed, extra])
        os.execv(launcher, [launcher, *sys.argv[1:]])
    raise UsageError(f"{why} needs {' and '.join(absent)}: install them with pip install 'swift-export[{extra}]'")


def _importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it
        return False
