"""Describes an error in a user's code in one line."""

from __future__ import annotations

import traceback
from itertools import pairwise
from pathlib import Path

from swift_export.system.text import first_line, one_line

__all__ = ["place_in_file", "reason"]

#: Packages whose lines are less informative than the user's own.
_LIBRARIES = frozenset({"equinox", "flax", "haiku", "jax", "jaxlib", "jaxtyping", "numpy"})
_INSTALLED = frozenset({"dist-packages", "site-packages"})
_OURS = Path(__file__).parents[1]


def reason(error: BaseException) -> str:
    """An exception's type, the first line of its message, and its place in the user's code."""
    said = first_line(str(error))
    what = f"{type(error).__name__}: {one_line(said, 500)}" if said else type(error).__name__
    if "_DimExpr" in what:  # JAX's word for a size that is a name
        what += "; a named dimension is not a number while the model is traced: give it a size"
    place = place_in_file(error)
    return f"{what} ({place})" if place else what


def place_in_file(error: BaseException) -> str | None:
    """The file's name and the line of the innermost call in the user's code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_library(frame.filename):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return None


def _is_library(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or _OURS in path.parents or path.parent.name == "importlib":
        return True
    parts = path.parts
    return any(where in _INSTALLED and what in _LIBRARIES for where, what in pairwise(parts))
