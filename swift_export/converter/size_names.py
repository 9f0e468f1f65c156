"""Names of unknown sizes in ONNX shapes: equal sizes have equal names, different sizes different ones."""

from __future__ import annotations

import itertools

from swift_export.converter.dims import Dim, Size

__all__ = ["SizeNames"]


class SizeNames:
    """The names given so far; the first size that asks for a name has it.

    A caller may call a dimension ``b+1`` or ``unknown_1``. Runtimes and passes take dimensions of one name for equal,
    so another size that is written in that way has a mark appended, which no polynomial contains.
    """

    def __init__(self) -> None:
        self._names: dict[Dim, str] = {}
        self._taken: set[str] = set()
        self._symbols: set[str] = set()

    def of(self, size: Size) -> int | str:
        """The size in an ONNX shape: a number, or the polynomial as the dimension's name."""
        if isinstance(size, int):
            return size
        if size not in self._names:
            name = str(size)
            while name in self._taken:
                name += "'"
            self._names[size] = name
            self._taken.add(name)
            self._symbols |= size.symbols
        return self._names[size]

    def fresh(self) -> Dim:
        """An unknown size with a new symbol."""
        names = (f"unknown_{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in self._symbols)
        self._symbols.add(name)
        return Dim.symbol(name)
