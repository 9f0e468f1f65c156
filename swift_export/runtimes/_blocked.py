"""Blocks the import of modules, which proves that a runtime works without the tools that made the artifact."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["block_imports"]


class _Blocker(MetaPathFinder):
    def __init__(self, blocked: frozenset[str]):
        self.blocked = blocked

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.blocked:
            # The error type that optional imports expect.
            raise ModuleNotFoundError(f"{fullname} is blocked in this process", name=fullname)
        return None


def block_imports(names: Sequence[str]) -> None:
    """Make imports of the modules ``names`` fail in this process, as if they were not installed.

    Raises RuntimeError if one is already imported.
    """
    if loaded := [name for name in names if name in sys.modules]:
        raise RuntimeError(f"imported before they could be blocked: {', '.join(loaded)}")
    sys.meta_path.insert(0, _Blocker(frozenset(names)))
