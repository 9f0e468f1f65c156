"""Tables of the edges of each target of scatters: the first edge of every target, the second one, and so on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.maker import Maker
from swift_export.converter.passes.match import sizes
from swift_export.converter.passes.scatter_rounds import new_sizes, number_of_rounds
from swift_export.converter.passes.sorted_edges import sorted_by_target

__all__ = ["MOST_RANKS", "Rest", "Slots", "Table", "bounds_of_ranks"]

BOOL, INT32, INT64 = oir.DataType.BOOL, oir.DataType.INT32, oir.DataType.INT64
#: More ranks than these in a table would be too many nodes.
MOST_RANKS = 32


def bounds_of_ranks(edges: int, targets: int) -> tuple[int, int]:
    """Ranks of all targets' table, and of the table of targets with more edges; few of random targets have more."""
    average = edges / targets
    return max(1, round(average + 0.4 * math.sqrt(average))), number_of_rounds(edges, targets)


@dataclass
class Table:
    """The edges of these ranks, ``first`` and those behind it, of ``count`` targets: a slot for each, ranks first.

    A target with fewer edges has its last one again in the other slots; what is there if it has none has no meaning.
    ``targets`` has the numbers of the targets, or is None if all have a slot.
    """

    first: int
    ranks: int
    count: int | str
    targets: oir.Value | None
    edges: oir.Value
    degrees: oir.Value
    _masks: dict[tuple[int, int], oir.Value] = field(default_factory=dict)

    def is_filled(self, make: Maker, width: int = 1) -> oir.Value:
        """Whether each slot is of an edge, so many times in a row."""
        return self._has_more(make, np.arange(self.first, self.first + self.ranks), width)

    def has_any(self, make: Maker, width: int) -> oir.Value:
        """Whether each target has an edge, so many times in a row."""
        return self._has_more(make, np.zeros(1), width)

    def _has_more(self, make: Maker, ranks: np.ndarray, width: int) -> oir.Value:
        key = (len(ranks), width)
        if key not in self._masks:
            degrees = make.reshaped(self.degrees, [1, self.count])
            if width > 1:
                # Long rows are repeated and transposed ten times as fast as numbers are repeated in short rows.
                degrees = make.made("Expand", [degrees, make.int64([width, 1])], [width, self.count])
                degrees = make.made("Transpose", [degrees], [self.count, width], perm=[1, 0])
            whole = make.length([self.count, width])
            operands = [make.reshaped(degrees, [1, whole]), make.int32(ranks[:, None])]
            self._masks[key] = make.made("Greater", operands, [len(ranks), whole], BOOL)
        return self._masks[key]


@dataclass(frozen=True)
class Rest:
    """Edges behind the last rank, in order, and their targets."""

    edges: oir.Value
    targets: oir.Value


class Slots:
    """The tables of all scatters to the targets ``rows``, a vector of numbers; only those before ``count`` matter."""

    def __init__(self, graph: oir.Graph, before: oir.Node, rows: oir.Value, count: int):
        self._make = make = Maker(graph, before)
        self._count, self._total = count, int(sizes(rows)[0])
        self._sizes = new_sizes(graph)
        if rows.dtype != INT32:
            rows = make.made("Cast", [rows], sizes(rows), INT32, to=INT32.value)
        # Targets that do not matter are one.
        rows = make.made("Min", [rows, make.int32(count)], sizes(rows))
        self._order, degrees, starts = sorted_by_target(make, rows, count, next(self._sizes))
        first, last = bounds_of_ranks(self._total, count)
        self.tables = [self._table(0, first, count, None, degrees, starts), self._larger(first, last, degrees, starts)]
        self.rest = self._behind(rows, last)

    def _table(
        self, first: int, last: int, count: int | str, targets: oir.Value | None, degrees: oir.Value, starts: oir.Value
    ) -> Table:
        make, ranks = self._make, last - first
        shape = [ranks, count]
        behind = make.made("Add", [starts, degrees], [count])
        latest = make.reshaped(make.made("Sub", [behind, make.int32(1)], [count]), [1, count])
        numbers = make.int32(np.arange(first, last)[:, None])
        places = make.made("Add", [make.reshaped(starts, [1, count]), numbers], shape)
        places = make.made("Min", [places, latest], shape)
        edges = make.elements(self._order, make.reshaped(places, [make.length(shape)]))
        return Table(first, ranks, count, targets, edges, degrees)

    def _larger(self, first: int, last: int, degrees: oir.Value, starts: oir.Value) -> Table:
        """The table of the targets that have more edges than ``first``."""
        make, size = self._make, next(self._sizes)
        more = make.made("Greater", [degrees, make.int32(first)], [self._count], BOOL)
        targets = self._true(more, size)
        degrees, starts = (make.elements(value, targets) for value in (degrees, starts))
        return self._table(first, last, size, targets, degrees, starts)

    def _behind(self, rows: oir.Value, number: int) -> Rest:
        make, length = self._make, self._total - number
        ordered = make.elements(rows, self._order)
        # Of equal numbers in order, the element so many places ahead is equal too.
        start, axis = make.int64([number]), make.int64([0])
        behind = make.made("Slice", [ordered, start, make.int64([self._total]), axis], [length])
        ahead = make.made("Slice", [ordered, axis, make.int64([length]), axis], [length])
        same = make.made("Equal", [ahead, behind], [length], BOOL)
        within = make.made("Less", [behind, make.int32(self._count)], [length], BOOL)
        both, size = make.made("And", [same, within], [length], BOOL), next(self._sizes)
        places = make.made("Add", [self._true(both, size), start], [size])
        return Rest(make.elements(self._order, places), make.elements(ordered, places))

    def _true(self, mask: oir.Value, size: str) -> oir.Value:
        found = self._make.made("NonZero", [mask], [1, size], INT64)
        return self._make.reshaped(found, [size])
