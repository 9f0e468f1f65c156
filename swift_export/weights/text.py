"""Turning what a file says into a piece of a one-line message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["listed", "shape_text", "shown"]


def shown(value: object, limit: int = 120) -> str:
    """``value`` as printable text on one line, at most ``limit`` characters.

    Names and values come from files that nobody vouches for: control characters would break the line or
    steer the terminal, and a name can be as long as the file.
    """
    text = value if isinstance(value, str) else str(value)
    cut = text[: limit + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in cut)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def shape_text(shape: Sequence[int]) -> str:
    """A shape as ``(108, 36)``; ``()`` is a scalar."""
    return shown("(" + ", ".join(map(str, shape)) + ")", limit=80)


def listed(entries: Iterable[str], most: int = 12) -> str:
    """Entries joined by commas; beyond ``most`` only their number is told."""
    entries = list(entries)
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
