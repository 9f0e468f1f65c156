"""Why a user's code failed, in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

from swift_export.system.text import one_line

__all__ = ["place_in_file", "reason"]

#: Packages whose lines say less than the user's own.
_LIBRARIES = frozenset({"equinox", "flax", "haiku", "importlib", "jax", "jaxlib", "jaxtyping", "numpy", "swift_export"})


def reason(error: BaseException) -> str:
    """An exception's type and the first line of its message, and where in the user's code it arose."""
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    told = f"{type(error).__name__}: {one_line(said, 500)}" if said else type(error).__name__
    place = place_in_file(error)
    return f"{told} ({place})" if place else told


def place_in_file(error: BaseException) -> str | None:
    """The file's name and the line of the innermost call of the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _LIBRARIES.intersection(Path(frame.filename).parts) and not frame.filename.startswith("<"):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return None
