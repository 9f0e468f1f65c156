"""Untrusted text, made safe for a line on a terminal or in a message.

Names come from files of any origin. Control characters could break the line or control the terminal, text direction
marks could disguise the name, and a name can be as long as its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = [
    "LINE_LIMIT",
    "error_line",
    "first_line",
    "listed",
    "one_line",
    "plural",
    "printable",
    "shape_text",
    "shortened",
    "shown",
]

#: Most characters in a line: enough for every path, and for a list of several hundred names.
LINE_LIMIT = 10_000


def printable(text: str) -> str:
    """Text on one line, with an escape for every character that is invisible or changes how others appear.

    These are control characters (including ESC and the 8-bit ones), line and paragraph separators, text direction
    marks, and the surrogates that stand for bytes of a file name that is not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def shortened(text: str, limit: int = LINE_LIMIT) -> str:
    """At most ``limit`` characters of printable text; a longer text keeps its beginning and its end.

    A message begins with its subject and ends with the remedy, so both remain.
    """
    # Cut twice, because escapes lengthen the text, and because escaping gigabytes would take too long.
    return _cut(printable(_cut(text, limit, len(text))), limit, len(text))


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """`shortened` text in which each run of white space, including line breaks, is one space."""
    return _cut(printable(" ".join(_cut(text, limit, len(text)).split())), limit, len(text))


def first_line(text: str) -> str:
    """The first line that is not blank, without surrounding space; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def error_line(error: BaseException, limit: int = 300) -> str:
    """The message of a library's error as `one_line`, or the name of its type if the message is empty."""
    return one_line(str(error), limit).strip() or type(error).__name__


def shown(value: object, limit: int = 120, *, quoted: bool = False) -> str:
    """``value`` as printable text on one line, at most ``limit`` characters, for use in a message.

    With ``quoted``, the text is in quotes as in Python.
    """
    try:
        text = repr(value) if quoted else str(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits; deeply nested lists
        text = f"a value of type {type(value).__name__} that is too long to show"
    safe = printable(text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def shape_text(shape: Sequence[int]) -> str:
    """A shape, such as ``(108, 36)``; a scalar is ``()``."""
    return shown("(" + ", ".join(map(str, shape)) + ")", limit=80)


def listed(entries: Iterable[str], most: int = 12) -> str:
    """Entries joined by commas; of those beyond ``most``, only the number is given."""
    entries = list(entries)
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest


def plural(count: int, noun: str) -> str:
    """A count with its noun, such as ``1 frame`` or ``1,200 frames``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(text: str, limit: int, length: int) -> str:
    """The beginning and the end of a text that is too long, with its original ``length`` between them."""
    if len(text) <= limit:
        return text
    mark = f" ... ({length:,} characters) ... "
    kept = max(limit - len(mark), 0)
    tail = kept // 3
    return text[: kept - tail] + mark + text[len(text) - tail :]
