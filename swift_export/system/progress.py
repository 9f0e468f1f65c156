"""Progress messages for the user. Light to import."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "clock", "ignore_line"]

#: Called with a short text at each step.
Progress = Callable[[str], None]


def ignore_line(_: str) -> None:
    """The default, which discards the text."""


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: ``1:02:03``, ``2:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
