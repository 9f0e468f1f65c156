"""Lines for the user while something runs. Light to import."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "ignore_line"]

#: Called with a few words on each step.
Progress = Callable[[str], None]


def ignore_line(_: str) -> None:
    """The default where nobody reads the lines."""
