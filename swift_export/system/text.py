"""Text that nobody vouches for, made fit for a line of a terminal or of a message.

Names come from files, and files from anywhere: control characters would break the line or steer the terminal, marks
of writing direction would show something else than there is, and a name can be as long as its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["LINE_LIMIT", "listed", "one_line", "printable", "shape_text", "shortened", "shown"]

#: Characters that a line has at most: room for every path, and for a list of some hundred names.
LINE_LIMIT = 10_000


def printable(text: str) -> str:
    """Text on one line, with an escape for every character that would not show, or would change what others show.

    These are control characters (ESC and the 8-bit ones too), separators of lines and paragraphs, marks of writing
    direction, and the halves of surrogate pairs that stand for the bytes of a file name that is no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def shortened(text: str, limit: int = LINE_LIMIT) -> str:
    """At most ``limit`` characters of printable text: where it is longer, its beginning and its end.

    Messages begin with what they are about and end with what to do.
    """
    # Cut twice: escapes are longer than what they stand for, and a text of gigabytes is not worth escaping.
    return _cut(printable(_cut(text, limit, len(text))), limit, len(text))


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """`shortened` text with its white space, line breaks included, made single spaces."""
    return _cut(printable(" ".join(_cut(text, limit, len(text)).split())), limit, len(text))


def shown(value: object, limit: int = 120, *, quoted: bool = False) -> str:
    """``value`` as printable text on one line, at most ``limit`` characters: a piece of a message.

    ``quoted`` text is in quotes, as in Python.
    """
    try:
        text = repr(value) if quoted else str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        text = f"a value of type {type(value).__name__} that is too long to be shown"
    safe = printable(text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def shape_text(shape: Sequence[int]) -> str:
    """A shape as ``(108, 36)``; ``()`` is a scalar."""
    return shown("(" + ", ".join(map(str, shape)) + ")", limit=80)


def listed(entries: Iterable[str], most: int = 12) -> str:
    """Entries joined by commas; beyond ``most`` only their number is told."""
    entries = list(entries)
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest


def _cut(text: str, limit: int, told: int) -> str:
    """Beginning and end of a text that is too long, and between them how long it was ``told`` to be."""
    if len(text) <= limit:
        return text
    mark = f" ... ({told:,} characters) ... "
    kept = max(limit - len(mark), 0)
    tail = kept // 3
    return text[: kept - tail] + mark + text[len(text) - tail :]
