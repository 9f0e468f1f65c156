"""Progress messages for the user. Light to import."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "ignore_line"]

#: Called with a short text at each step.
Progress = Callable[[str], None]


def ignore_line(_: str) -> None:
    """The default, which discards the text."""
