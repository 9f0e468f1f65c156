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
from swift_export.converter.passes.single_elements import LONGEST_ROW, element_positions, gathered
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
    if len(node.outputs) != 1 or node.domain or None in node.inputs:
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

    Short values are rows of elements: one for each rank of a table, and only one for what all ranks have alike.
    """

    def __init__(
        self, table: Table | Rest, region: Container[oir.Node], positions: oir.Value, targets: int, segmented: bool
    ):
        self._table, self._region, self._positions, self._targets = table, region, positions, targets
        self._segmented = segmented
        self._found: dict[oir.Value, oir.Value] = {}
        self._rows: dict[oir.Value, oir.Value] = {}
        self._slots: list[int | str] = [1, *sizes(table.edges)]
        if isinstance(table, Table):
            self._slots = [table.ranks, table.count]

    def rows(self, make: Maker, value: oir.Value) -> oir.Value:
        """A short value, as rows of elements."""
        if value not in self._rows:
            self._rows[value] = self._computed_rows(make, value)
        return self._rows[value]

    def _computed_rows(self, make: Maker, value: oir.Value) -> oir.Value:
        node = self._node(value)
        if node is None:
            return self._gathered_rows(make, value, self._table.edges)
        operands = inputs(node)
        if node.op_type == "Gather":
            data, places = operands
            if not self._reads_target(data, places):
                return self._gathered_rows(make, data, make.elements(places, self._table.edges))
            assert isinstance(self._table, Table)
            return self.of_targets(make, data)
        if node.op_type in MOVES:
            return self.rows(make, operands[0])
        if not _is_uniform(node):
            found = self.of(make, value)
            return make.reshaped(found, [sizes(found)[0], make.length(sizes(found)[1:])])
        there = {v: self.rows(make, v) for v in operands if _has_edges(v, value)}
        shape = max((sizes(rows) for rows in there.values()), key=lambda found: found[0] != 1)
        return make.made(node.op_type, [there.get(v, v) for v in operands], shape, value.dtype, **node.attributes)

    def of(self, make: Maker, value: oir.Value) -> oir.Value:
        """A value, with axes for ranks and slots."""
        if value not in self._found:
            self._found[value] = self._computed(make, value)
        return self._found[value]

    def _computed(self, make: Maker, value: oir.Value) -> oir.Value:
        node, behind = self._node(value), sizes(value)[1:]
        if is_short(behind) and (node is None or node.op_type in {"Gather", *MOVES} or _is_uniform(node)):
            rows = self.rows(make, value)
            return make.reshaped(rows, [sizes(rows)[0], self._slots[1], *behind])
        if node is None or node.op_type == "Gather":
            data, places = (value, None) if node is None else inputs(node)
            edges = self._table.edges if places is None else make.elements(places, self._table.edges)
            return make.reshaped(gathered(make.graph, make.before, data, edges), [*self._slots, *behind])
        operands = inputs(node)
        if node.op_type in MOVES:
            moved = self.of(make, operands[0])
            return make.reshaped(moved, [*sizes(moved)[:2], *behind])
        there = {v: self.of(make, v) for v in operands if _has_edges(v, value)}
        slots = max((sizes(v)[:2] for v in there.values()), key=lambda found: found[0] != 1)
        operands = [there.get(v, v) for v in operands]
        return make.made(node.op_type, operands, [*slots, *behind], value.dtype, **node.attributes)

    def _node(self, value: oir.Value) -> oir.Node | None:
        node = value.producer()
        return node if node is not None and node in self._region else None

    def _reads_target(self, data: oir.Value, places: oir.Value) -> bool:
        known = self._segmented and isinstance(self._table, Table) and sizes(data)[0] == self._targets
        return known and are_segments(self._positions, places)

    def of_targets(self, make: Maker, data: oir.Value) -> oir.Value:
        """The row of a short value of each target, as one row."""
        assert isinstance(self._table, Table)
        row = make.row(data)
        return row if self._table.targets is None else _elements(make, row, self.positions(make, data))

    def positions(self, make: Maker, data: oir.Value) -> oir.Value:
        """The positions of the elements of the table's targets in a short value, or in rows of one, as one row."""
        targets = self._table.targets
        assert targets is not None
        shape: list[int | str] = [self._targets, int(make.length(sizes(data))) // self._targets]
        return make.row(element_positions(make.graph, make.before, targets, shape))

    def _gathered_rows(self, make: Maker, data: oir.Value, places: oir.Value) -> oir.Value:
        positions = make.row(element_positions(make.graph, make.before, places, sizes(data)))
        found = _elements(make, make.row(data), positions)
        return make.reshaped(found, [self._slots[0], make.length([*self._slots[1:], *sizes(data)[1:]])])

    def filled(self, make: Maker, value: oir.Value) -> oir.Value:
        """A short value, as rows of elements, with 0 in slots of no edge."""
        assert isinstance(self._table, Table)
        node, width = self._node(value), math.prod(int(size) for size in sizes(value)[1:])
        if node is not None and node.op_type in MOVES:
            return self.filled(make, inputs(node)[0])
        mask = self._table.is_filled(make, width)
        return make.made("Where", [mask, self.rows(make, value), make.filled(0, value)], sizes(mask), value.dtype)

    def parts(self, make: Maker, value: oir.Value) -> list[oir.Value]:
        """A value by ranks, each with a first axis of 1, with 0 in slots of no edge."""
        behind = sizes(value)[1:]
        if is_short(behind):
            return make.split(make.reshaped(self.filled(make, value), [*self._slots, *behind]))
        node = value.producer()
        assert node is not None
        shape = [1, self._slots[1], *behind]
        first, second = inputs(node)
        if node.op_type == "Gather":
            data, places = self._padded_rows(make, first), make.split(self._padded_places(make, first, second))
            return [make.made("Gather", [data, place], shape, axis=0) for place in places]
        pairs = zip(self.parts(make, first), self.parts(make, second), strict=True)
        return [make.made("Mul", spread(make.graph, make.before, a, b), shape) for a, b in pairs]

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
        return make.made("Where", [self._table.is_filled(make), places, constant(number)], self._slots, rows.dtype)


def _is_uniform(node: oir.Node) -> bool:
    """Whether an op on elements takes, of short values, those at the same place, and else numbers."""
    value = node.outputs[0]
    operands = inputs(node)
    numbers = (v for v in operands if not _has_edges(v, value))
    same = all(sizes(v) == sizes(value) for v in operands if _has_edges(v, value))
    return same and is_short(sizes(value)[1:]) and all(sizes(v) in ([], [1], [1, 1]) for v in numbers)


def _elements(make: Maker, row: oir.Value, positions: oir.Value) -> oir.Value:
    return make.made("GatherElements", [row, positions], sizes(positions), axis=1)
