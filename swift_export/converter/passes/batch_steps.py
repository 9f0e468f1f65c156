"""Moves the work of a loop's steps that does not depend on other steps out of the loop: one op for all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import onnx_ir as oir

from swift_export.converter.passes.factors import as_factor
from swift_export.converter.passes.loops import (
    CONDITION,
    COUNT_AND_CONDITION,
    KEPT,
    body_of,
    drop_unread_states,
    replace_turned,
    steps_of,
)
from swift_export.converter.passes.match import can_replace, inputs, made_by, replace, sizes
from swift_export.converter.passes.stacked_ops import consider
from swift_export.converter.passes.stacks import Stacks

__all__ = ["batch_steps"]

#: Elements of the largest array that may be made, or how many times those of an array that the loop reads or writes.
LARGEST, RATIO = 2**22, 16


def batch_steps(graph: oir.Graph) -> int:
    """What depends only on the step and on rows is computed in front of the loop, for all steps at once.

    The body then reads one row of the result in each step. Nodes move if the body becomes shorter, and if no array is
    much larger than those that the loop reads and writes.
    """
    loops = [node for node in graph if node.op_type == "Loop" and KEPT not in body_of(node).meta]
    counted = [(loop, steps) for loop in loops if (steps := steps_of(loop)) is not None]
    count = sum(_Batch(graph, loop, steps).apply() for loop, steps in counted)
    if count:
        drop_unread_states(graph)
    return count


class _Batch:
    """The nodes of a loop that move in front of it."""

    def __init__(self, graph: oir.Graph, loop: oir.Node, steps: int | str) -> None:
        self.graph, self.loop, self.body = graph, loop, body_of(loop)
        states = len(loop.inputs) - COUNT_AND_CONDITION
        #: The rows that the loop gives, in the body and behind the loop.
        self.rows = list(zip(self.body.outputs[CONDITION + states :], loop.outputs[states:], strict=True))
        step = self.body.inputs[0]
        reads = [node for node in self.body if _reads_rows(node, self.body)]
        against = [m.outputs[0] for node in reads if (m := made_by(node.inputs[1], "Sub")) and m.inputs[1] is step]
        self.index = against[0] if against else step
        self.stacks = Stacks(graph, loop, steps, backwards=bool(against))
        arrays = [sizes(inputs(node)[0]) for node in reads] + [sizes(rows) for _, rows in self.rows]
        self.nodes = [node for node in self.body if self._fits(node, arrays) and consider(self.stacks, node)]
        # The index of rows stays in the body.
        self.moved = {node for node in self.nodes if self.index not in node.outputs}

    def apply(self) -> int:
        """Move the nodes; how many."""
        for node in reversed(self.nodes):
            users = {user for output in node.outputs for user in output.consumers()}
            if node in self.moved and users.isdisjoint(self.moved) and self._is_shorter_with(node):
                self.moved.discard(node)
        ends = [value for node in self.nodes if node in self.moved for value in node.outputs if self._is_read(value)]
        given = [(row, rows) for row, rows in self.rows if row.producer() in self.moved]
        if len(self.moved) <= len(ends) and not given:
            return 0
        for row, rows in given:
            self._give(self.stacks.of(row), rows)
        for value in ends:
            self._read(value)
        return len(self.moved)

    def _fits(self, node: oir.Node, arrays: Sequence[Sequence[int | str]]) -> bool:
        """Whether no array of the node's outputs would be too large."""
        for value in node.outputs:
            number, names = _elements(self.stacks.shape(value))
            small = not names and number <= LARGEST
            if not small and not any(
                names <= others and number <= RATIO * most for most, others in map(_elements, arrays)
            ):
                return False
        return True

    def _is_read(self, value: oir.Value) -> bool:
        """Whether nodes that stay read a value, or it is a state of the next step."""
        given = {row for row, _ in self.rows}
        return (value.is_graph_output() and value not in given) or not self.moved.issuperset(value.consumers())

    def _is_shorter_with(self, node: oir.Node) -> bool:
        """Whether the body is shorter with a node than with the rows of its results; it is the last of those moved."""
        ends = sum(map(self._is_read, node.outputs))
        given = {row for row, _ in self.rows}
        before = {v for v in inputs(node) if v.producer() in self.moved and not self._is_read(v)}
        return 1 + len(before) + 2 * len(given.intersection(node.outputs)) < ends

    def _give(self, stacked: oir.Value, rows: oir.Value) -> None:
        if not can_replace(rows, stacked):
            stacked = self.stacks.one("Identity", [stacked], sizes(stacked))
        if self.stacks.backwards:
            replace_turned(self.graph, rows, stacked)
        if rows.uses() or rows.is_graph_output():
            replace(self.graph, rows, self.stacks.turned(stacked) if self.stacks.backwards else stacked)

    def _read(self, value: oir.Value) -> None:
        """Read a row of the array in place of a value."""
        stacked, producer, maker = self.stacks.of(value), value.producer(), self.index.producer()
        assert producer is not None
        row = oir.val(None, value.dtype, value.shape)
        properties = dict(producer.metadata_props)
        node = oir.node("Gather", [stacked, self.index], {"axis": 0}, outputs=[row], metadata_props=properties)
        if maker is None:
            self.body.insert_before(self.body[0], node)
        else:
            self.body.insert_after(maker, node)
        for use in list(value.uses()):
            if use.node not in self.moved:
                use.node.replace_input_with(use.idx, row)
        if value.is_graph_output():
            copy = oir.node("Identity", [row], outputs=[oir.val(None, value.dtype, value.shape)])
            self.body.append(copy)
            for i, output in enumerate(self.body.outputs):
                if output is value:
                    self.body.outputs[i] = copy.outputs[0]


def _reads_rows(node: oir.Node, body: oir.Graph) -> bool:
    """Whether a node reads places of an array from outside that differ in each step."""
    if node.op_type != "Gather" or node.domain:
        return False
    data, index = inputs(node)
    return data.graph is not body and index.graph is body


def _elements(shape: Sequence[int | str]) -> tuple[int, Counter[str]]:
    """The number of elements: the product of a number and of unknown sizes."""
    factors = [as_factor(size) for size in shape]
    return math.prod(factor.number for factor in factors), Counter(f.name for f in factors if f.name is not None)
