"""The arrays that a counted loop fills row by row, and its indices as values."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Dim, Shape, Size
from swift_export.converter.step_symbols import Step, parted

__all__ = ["Rows", "new_step", "scalar"]


def new_step(name: str, turn: oir.Value, count: Size) -> Dim:
    """The step of a loop that runs ``count`` times; ``turn`` is its value at run time, an int64 scalar."""
    return Dim.symbol(Step(name, turn, count - 1))


def scalar(b: Builder, size: Size) -> oir.Value:
    """A size or index as an int64 scalar."""
    rest, steps = parted(size)
    total: oir.Value | None = None
    if rest != 0 or not steps:
        total = b.scalar(rest, oir.DataType.INT64) if isinstance(rest, int) else b.reshape(b.sizes([rest]), ())
    for step, k in steps:
        turn = step.turn if abs(k) == 1 else b.same_type("Mul", step.turn, b.scalar(abs(k), oir.DataType.INT64))
        if total is None:
            total = turn if k > 0 else b.same_type("Neg", turn)
        else:
            total = b.same_type("Add" if k > 0 else "Sub", total, turn)
    assert total is not None
    return total


class Rows:
    """The arrays that a loop fills with one row a step.

    A rule that writes a row calls ``write``. The array is then no state of the loop, provided that nothing else uses
    the array or the result; reads of the row that is about to be written take it from the array's initial value.
    """

    def __init__(self, step: Dim, count: Size) -> None:
        self.step, self.count = step, count
        #: The arrays at the beginning of a step, with their initial values outside the loop.
        self.initial: dict[oir.Value, oir.Value] = {}
        #: By array: where a row is written, the row, and the array with the row in it.
        self.written: dict[oir.Value, tuple[Size, oir.Value, oir.Value]] = {}
        self._read: dict[oir.Value, set[Size]] = {}

    def write(self, b: Builder, array: oir.Value, start: Size, row: oir.Value) -> oir.Value | None:
        """The array with a row at ``start``; None if it is none of the loop's arrays, or if not every step writes a
        row of its own. The row is broadcast to the array's other axes, with or without the first.
        """
        shape = b.shape(array)
        if array not in self.initial or array in self.written or self.place(start, shape) is None:
            return None
        assert array.dtype is not None
        if len(b.shape(row)) == len(shape):
            row = b.reshape(row, b.shape(row)[1:])
        row, result = b.expand(row, shape[1:]), b.parameter(array.dtype, shape)
        self.written[array] = start, row, result
        return result

    def read(self, array: oir.Value, start: Size) -> oir.Value:
        """The value that holds the row at ``start`` of an array, at the beginning of a step."""
        if array not in self.initial:
            return array
        self._read.setdefault(array, set()).add(start)
        return self.initial[array]

    def place(self, start: Size, shape: Shape) -> tuple[Size, bool] | None:
        """The first row that ``start`` visits over all steps, and whether it goes backwards; None if it visits some
        row twice or not at all, or leaves the array.
        """
        first, backwards = start - self.step, False
        if _mentions(first, self.step):
            first, backwards = start + self.step - (self.count - 1), True
        if _mentions(first, self.step) or parted(first)[1]:
            return None
        after = shape[0] - first - self.count
        known = isinstance(first, int) and first >= 0 and isinstance(after, int) and after >= 0
        return (first, backwards) if known else None

    def is_apart(self, array: oir.Value, result: oir.Value | None) -> bool:
        """Whether the array, which becomes ``result`` in a step, is only written, and read only where it is written."""
        if array not in self.written:
            return False
        start, _, written = self.written[array]
        own = written is result and not array.uses() and not written.uses()
        return own and self._read.get(array, set()) <= {start}


def _mentions(size: Size, step: Dim) -> bool:
    return isinstance(size, Dim) and bool(size.symbols & step.symbols)
