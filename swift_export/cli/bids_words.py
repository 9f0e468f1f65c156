"""Arguments as BIDS Apps take them: several values behind one option, and underscores in its name.

``--participant-label 01 02`` means ``--participant-label 01 --participant-label 02``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["repeated"]


def repeated(arguments: Sequence[str], several: Collection[str]) -> list[str]:
    """The arguments with each of the options ``several`` repeated for all the values that follow it."""
    found: list[str] = []
    option: str | None = None
    first = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[place:]]
        if argument.startswith("-") and argument != "-":
            name, equals, rest = argument.partition("=")
            plain = name.replace("_", "-") if name.startswith("--") else name
            option, first = (plain if plain in several and not equals else None), True
            found.append(f"{plain}{equals}{rest}")
        elif option is None or first:
            found.append(argument)
            first = False
        else:
            found += [option, argument]
    return found
