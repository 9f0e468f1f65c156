"""Values of a graph's edges, computed in the slots of a table of edges instead."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

import onnx_ir as oir

from swift_export.converter.passes.any_layout import ELEMENTWISE
from swift_export.converter.passes.maker import Maker
from swift_export.converter.passes.match import FLOATS, attribute, inputs, sizes
from swift_export.converter.passes.picked_rows import spread
from swift_export.converter.passes.segments import are_segments
from swift_export.converter.passes.single_elements import LONGEST_ROW, gathered
from swift_export.converter.passes.slot_tables import Rest, Table

__all__ = ["InSlots", "can_vanish", "is_of_edges", "is_short"]

MOVES = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
Shape = Sequence[int | str]


def is_short(shape: Shape) -> bool:
    """Whether an edge's value of this shape is gathered, chosen and reduced as single elements."""
    known = [size for size in shape if isinstance(size, int)]
    return len(known) == len(shape) and 1 <= math.prod(known) <= LONGEST_ROW


def is_of_edges(node: oir.Node, edges: int) -> bool:
    """Whether a node computes a value of each edge of values of this edge, or of what is the same for all edges."""
    if len(node.outputs) != 1 or node.domain:
        return False
    shape = sizes(node.outputs[0])
    if shape[:1] != [edges] or not all(isinstance(size, int) for size in shape):
        return False
    if node.op_type == "Gather":
        data, rows = inputs(node)
        known = all(isinstance(size, int) for size in sizes(data))
        return known and attribute(node, "axis", 0) == 0 and sizes(rows) == [edges]
    if node.op_type in MOVES:
        return sizes(inputs(node)[0])[:1] == [edges]
    if node.op_type in ("Div", "Mod") and node.outputs[0].dtype not in FLOATS:
        return False  # What is computed in slots of no edge may divide by 0.
    return node.op_type in ELEMENTWISE and any(_has_edges(v, node.outputs[0]) for v in inputs(node))


def _has_edges(operand: oir.Value, value: oir.Value) -> bool:
    return len(sizes(operand)) == len(sizes(value)) and sizes(operand)[0] == sizes(value)[0]


def can_vanish(value: oir.Value, region: Container[oir.Node]) -> bool:
    """Whether `InSlots.parts` can compute a value that is 0 in slots of no edge."""
    node = value.producer()
    if is_short(sizes(value)[1:]):
        return True
    if node is None or node not in region:
        return False
    if node.op_type == "Mul":
        return all(_has_edges(v, value) and can_vanish(v, region) for v in inputs(node))
    return node.op_type == "Gather"


class InSlots:
    """Values of edges, in the slots of a table or in the rest.

    ``region`` has the nodes that are computed anew for these edges; other values are gathered. ``positions`` of the
    scatters tell which gathers read the row of an edge's own target, of which there are ``targets``.
    """

    def __init__(
        self, table: Table | Rest, region: Container[oir.Node], positions: oir.Value, targets: int, segmented: bool
    ):
        self._table, self._region, self._positions, self._targets = table, region, positions, targets
        self._segmented = segmented
        self._found: dict[oir.Value, oir.Value] = {}
        self._slots: list[int | str] = (
            [table.ranks, table.count] if isinstance(table, Table) else list(sizes(table.edges))
        )

    def of(self, make: Maker, value: oir.Value) -> oir.Value:
        """A value, in slots; where all ranks have the same, it may be there once."""
        if value not in self._found:
            self._found[value] = self._computed(make, value)
        return self._found[value]

    def _computed(self, make: Maker, value: oir.Value) -> oir.Value:
        node, behind = value.producer(), sizes(value)[1:]
        if node is None or node not in self._region:
            return self._rows(make, value, self._table.edges)
        operands = inputs(node)
        if node.op_type == "Gather":
            data, rows = operands
            if isinstance(self._table, Table) and self._reads_target(data, rows):
                targets = self._table.targets
                own = data if targets is None else gathered(make.graph, make.before, data, targets)
                return make.reshaped(own, [1, self._table.count, *behind])
            return self._rows(make, data, make.elements(rows, self._table.edges))
        if node.op_type in MOVES:
            moved = self.of(make, operands[0])
            return make.reshaped(moved, [*sizes(moved)[: len(self._slots)], *behind])
        there = {v: self.of(make, v) for v in operands if _has_edges(v, value)}
        slots = max((sizes(v)[: len(self._slots)] for v in there.values()), key=lambda found: found[0] != 1)
        settings = dict(node.attributes)
        return make.made(node.op_type, [there.get(v, v) for v in operands], [*slots, *behind], value.dtype, **settings)

    def _rows(self, make: Maker, data: oir.Value, rows: oir.Value) -> oir.Value:
        found = gathered(make.graph, make.before, data, rows)
        return make.reshaped(found, [*self._slots, *sizes(data)[1:]])

    def _reads_target(self, data: oir.Value, rows: oir.Value) -> bool:
        return self._segmented and sizes(data)[0] == self._targets and are_segments(self._positions, rows)

    def filled(self, make: Maker, value: oir.Value) -> oir.Value:
        """A short value, in slots of a table, with 0 in those of no edge."""
        assert isinstance(self._table, Table)
        node, behind = value.producer(), [int(size) for size in sizes(value)[1:]]
        if node is not None and node in self._region and node.op_type in MOVES and is_short(sizes(inputs(node)[0])[1:]):
            return make.reshaped(self.filled(make, inputs(node)[0]), [*self._slots, *behind])
        operands = [self._table.is_filled(make, behind), self.of(make, value), make.filled(0, value)]
        return make.made("Where", operands, [*self._slots, *behind], value.dtype)

    def parts(self, make: Maker, value: oir.Value) -> list[oir.Value]:
        """A value by ranks, each with a first axis of 1, with 0 in slots of no edge."""
        if is_short(sizes(value)[1:]):
            return self.by_rank(make, self.filled(make, value))
        node = value.producer()
        assert node is not None
        shape = [1, self._slots[1], *sizes(value)[1:]]
        first, second = inputs(node)
        if node.op_type == "Gather":
            data, places = self._padded_rows(make, first), self.by_rank(make, self._padded_places(make, first, second))
            return [make.made("Gather", [data, place], shape, axis=0) for place in places]
        pairs = zip(self.parts(make, first), self.parts(make, second), strict=True)
        return [make.made("Mul", spread(make.graph, make.before, a, b), shape) for a, b in pairs]

    def by_rank(self, make: Maker, value: oir.Value) -> list[oir.Value]:
        """A value in slots, rank by rank, each with a first axis of 1."""
        return make.split(value)

    def _padded_rows(self, make: Maker, data: oir.Value) -> oir.Value:
        """The rows of a value, and one of zeros."""
        shape = [int(size) for size in sizes(data)]
        zeros = make.made("Expand", [make.filled(0, data), make.int64([1, *shape[1:]])], [1, *shape[1:]])
        return make.made("Concat", [data, zeros], [shape[0] + 1, *shape[1:]], axis=0)

    def _padded_places(self, make: Maker, data: oir.Value, rows: oir.Value) -> oir.Value:
        """The rows that slots gather, that of zeros in slots of no edge."""
        assert isinstance(self._table, Table)
        assert rows.dtype is not None
        number, shape = int(sizes(data)[0]), sizes(rows)

        def constant(n: int) -> oir.Value:
            return make.int32(n) if rows.dtype == oir.DataType.INT32 else make.int64(n)

        # Numbers that count from the end.
        from_end = make.made("Less", [rows, constant(0)], shape, oir.DataType.BOOL)
        counted = make.made("Add", [rows, constant(number)], shape)
        rows = make.made("Where", [from_end, counted, rows], shape, rows.dtype)
        places = make.reshaped(make.elements(rows, self._table.edges), self._slots)
        return make.made("Where", [self._table.is_filled(make, []), places, constant(number)], self._slots, rows.dtype)
