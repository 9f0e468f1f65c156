"""Moves the work of a loop's steps that no later step reads behind the loop: one op for all of them."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.independent import Independent
from swift_export.converter.passes.loops import counted_loops, drop_unread_states, source_of
from swift_export.converter.passes.match import inputs, sizes
from swift_export.converter.passes.stacked_ops import consider
from swift_export.converter.passes.stacks import Stacks

__all__ = ["defer_steps"]


def defer_steps(graph: oir.Graph) -> int:
    """What only rows of results depend on is computed behind the loop, for all steps at once.

    The loop then gives rows of the values that this work reads. So a layer on each state of a recurrence becomes one
    product, and what stays may be a cell that ONNX knows. Nodes move if the body becomes shorter, and if no array is
    much larger than those that the loop reads and writes.
    """
    count = 0
    for loop, steps in counted_loops(graph):
        # Rows of a loop that may have no steps lose unknown sizes, so that arrays of them do not fit to others.
        if steps != 0:
            place = oir.node("Identity", [])
            graph.insert_after(loop, place)
            count += _Late(Independent(graph, loop, steps), place).apply()
            graph.remove(place)
    if count:
        drop_unread_states(graph)
    return count


class _Late:
    """The nodes of a loop that move behind it, in front of a ``place`` there."""

    def __init__(self, found: Independent, place: oir.Node) -> None:
        self.found, self.loop, self.body = found, found.loop, found.body
        backwards = found.stacks.backwards
        self.stacks = Stacks(found.graph, self.loop, found.stacks.count, backwards=backwards, before=place)
        self.copies = {node for row, _ in found.rows if (node := row.producer()) is not None and _is_copy(node)}
        self.given = {source_of(row) for row, _ in found.rows}
        self.fixed = set(self.body.outputs) - {row for row, _ in found.rows}
        self.moved: set[oir.Node] = set()
        self.stacks.expect([*self.body.inputs, *(value for node in self.body for value in node.outputs)])
        for node in reversed(list(self.body)):
            if self._can_move(node) and consider(self.stacks, node):
                self.moved.add(node)
        for node in [node for node in self.body if node in self.moved]:
            if self._is_shorter_with(node) or self._is_masked(node):
                self.moved.discard(node)

    def apply(self) -> int:
        """Move the nodes; how many."""
        if not self.moved:
            return 0
        for value in dict.fromkeys(v for node in self.body if node in self.moved for v in self._read(node)):
            self.stacks.put(value, self._array(value))
        for row, rows in self.found.rows:
            if source_of(row).producer() in self.moved:
                self.stacks.give(source_of(row), rows)
        return len(self.moved)

    def _can_move(self, node: oir.Node) -> bool:
        """Whether only rows and nodes that move read what a node gives, and what it reads can become rows."""
        if node in self.found.nodes or node in self.copies or not self.fixed.isdisjoint(node.outputs):
            return False
        users = {user for output in node.outputs for user in output.consumers()}
        return users <= self.moved | self.copies and all(map(self._fits, (*self._varying(node), *node.outputs)))

    def _fits(self, value: oir.Value) -> bool:
        known = isinstance(self.stacks.count, int) or all(isinstance(size, int) for size in sizes(value))
        return known and self.found.fits(value)

    def _varying(self, node: oir.Node) -> list[oir.Value]:
        return [value for value in inputs(node) if self.stacks.varies(value)]

    def _read(self, node: oir.Node) -> list[oir.Value]:
        """The values of the body, of nodes that stay, which a node reads."""
        return [value for value in self._varying(node) if value.producer() not in self.moved]

    def _is_shorter_with(self, node: oir.Node) -> bool:
        """Whether the body is no longer with a node than with rows of what it reads; those before it stay or moved."""
        new = {v for v in self._read(node) if not self.found.stacks.has(v) and v not in self.given}
        alone = {v for v in new if self.moved.intersection(v.consumers()) == {node}}
        return 1 + len(node.outputs) <= len(alone)

    def _is_masked(self, node: oir.Node) -> bool:
        """Whether a node chooses by a mask that states read, too: ONNX's LSTM and GRU do both."""
        return node.op_type == "Where" and not self.moved.issuperset(inputs(node)[0].consumers())

    def _array(self, value: oir.Value) -> oir.Value:
        """The array of a value: one that needs no steps, or rows that the loop gives."""
        early = self.found.stacks
        if early.has(value):
            return early.of(value)
        number = next((i for i, (row, _) in enumerate(self.found.rows) if source_of(row) is value), None)
        rows = self._new_rows(value) if number is None else self.found.rows[number][1]
        return self.stacks.turned(rows) if self.stacks.backwards else rows

    def _new_rows(self, value: oir.Value) -> oir.Value:
        assert value.dtype is not None
        row = oir.val(None, value.dtype, value.shape)
        self.body.append(oir.node("Identity", [value], outputs=[row]))
        self.body.outputs.append(row)
        self.loop.resize_outputs(len(self.loop.outputs) + 1)
        rows = self.loop.outputs[-1]
        rows.dtype, rows.shape = value.dtype, oir.Shape(self.stacks.shape(value))
        return rows


def _is_copy(node: oir.Node) -> bool:
    return node.op_type == "Identity" and not node.domain
