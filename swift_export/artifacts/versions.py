"""Versions of what took part in an export."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

from swift_export._version import __version__

__all__ = ["versions_of"]


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Version of Python, of this package and of those of ``modules`` that are installed, by module.

    The distribution may be called otherwise than its module: tensorflow-cpu brings ``tensorflow``.
    """
    homes = metadata.packages_distributions()
    versions = {name: metadata.version(homes[name][0]) for name in modules if name in homes}
    return {"python": platform.python_version(), "swift-export": __version__, **versions}
