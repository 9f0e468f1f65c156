"""Modules that libraries import but seldom read: they are executed when something first reads from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

__all__ = ["import_late"]

#: onnx_ir computes with sizes by sympy, whose import takes a third of a small conversion's time. The converter has its
#: own arithmetic of sizes, and gives onnx_ir only names.
SELDOM_READ = ("sympy", "onnx_ir._symbolic_shapes")


class _LateFinder:
    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in SELDOM_READ else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_late() -> None:
    """From now on, execute the modules of `SELDOM_READ` on first use. For a process of our own."""
    if _LateFinder not in sys.meta_path:
        sys.meta_path.insert(0, _LateFinder)
