"""Extras: told early and by name where they are missing, installed where scripts/swift-export is the caller."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from swift_export.errors import UsageError

__all__ = ["need_extra"]

#: What each extra must have made importable.
_PACKAGES = {"savedmodel": ("tensorflow", "tf2onnx"), "fmri": ("nibabel",)}
#: Set by scripts/swift-export: its own path, and the extras that it has installed on this command's demand.
_LAUNCHER, _INSTALLED = "SWIFT_EXPORT_LAUNCHER", "SWIFT_EXPORT_EXTRAS"


def need_extra(extra: str, why: str) -> None:
    """Go on only where an extra is installed.

    Raises UsageError that names what to install. Run by scripts/swift-export, the process instead goes back to it, to
    install the extra and to begin this command again: so call this before anything is done.
    """
    absent = [package for package in _PACKAGES[extra] if not find_spec(package)]
    if not absent:
        return
    launcher, installed = os.environ.get(_LAUNCHER), os.environ.get(_INSTALLED, "").split()
    if launcher and extra not in installed:
        sys.stdout.flush()
        os.environ[_INSTALLED] = " ".join([*installed, extra])
        os.execv(launcher, [launcher, *sys.argv[1:]])
    raise UsageError(f"{why} needs {' and '.join(absent)}: install them with pip install 'swift-export[{extra}]'")
