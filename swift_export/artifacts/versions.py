"""Versions of the packages used in an export."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

from swift_export._version import __version__

__all__ = ["versions_of"]


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package and of the installed ones of ``modules``, by module.

    A distribution may have another name than its module: tensorflow-cpu contains ``tensorflow``.
    """
    homes = metadata.packages_distributions()
    versions = {name: metadata.version(homes[name][0]) for name in modules if name in homes}
    return {"python": platform.python_version(), "swift-export": __version__, **versions}
