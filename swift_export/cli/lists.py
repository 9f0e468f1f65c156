"""Options that take several values: repeated, separated by commas, or both."""

from __future__ import annotations

import re
from collections.abc import Iterable

from swift_export.errors import UsageError

__all__ = ["REPEATED", "SEVERAL", "numbers", "words"]

#: Sentences for help texts. Paths are only repeated, because their names may contain commas.
SEVERAL = "Repeat it for several, or separate them by commas."
REPEATED = "Repeat it for several."


def words(given: Iterable[str] | None, option: str) -> list[str]:
    """The values of an option, in order; raises UsageError for an empty one."""
    found = [word.strip() for text in given or () for word in text.split(",")]
    if not all(found):
        raise UsageError(f"{option}: expected values separated by commas, found an empty one")
    return found


def numbers(given: Iterable[str] | None, option: str) -> list[int]:
    """The values of an option for whole numbers; raises UsageError for other values."""
    found = words(given, option)
    for word in found:
        if not re.fullmatch("-?[0-9]{1,18}", word):
            raise UsageError(f"{option} {word}: expected a whole number")
    return [int(word) for word in found]
