"""Moves the work of a loop's steps that does not depend on other steps out of the loop: one op for all of them."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.independent import Independent
from swift_export.converter.passes.loops import counted_loops, drop_unread_states
from swift_export.converter.passes.match import inputs

__all__ = ["batch_steps"]


def batch_steps(graph: oir.Graph) -> int:
    """What depends only on the step and on rows is computed in front of the loop, for all steps at once.

    The body then reads one row of the result in each step. Nodes move if the body becomes shorter, and if no array is
    much larger than those that the loop reads and writes.
    """
    count = sum(_Batch(Independent(graph, loop, steps)).apply() for loop, steps in counted_loops(graph))
    if count:
        drop_unread_states(graph)
    return count


class _Batch:
    """The nodes of a loop that move in front of it."""

    def __init__(self, found: Independent) -> None:
        self.found, self.stacks = found, found.stacks
        self.given = {row for row, _ in found.rows}
        # The index of rows stays in the body.
        self.moved = {node for node in found.nodes if found.index not in node.outputs}

    def apply(self) -> int:
        """Move the nodes; how many."""
        nodes = self.found.nodes
        for node in reversed(nodes):
            users = {user for output in node.outputs for user in output.consumers()}
            if node in self.moved and users.isdisjoint(self.moved) and self._is_shorter_with(node):
                self.moved.discard(node)
        ends = [value for node in nodes if node in self.moved for value in node.outputs if self._is_read(value)]
        given = [(row, rows) for row, rows in self.found.rows if row.producer() in self.moved]
        if len(self.moved) <= len(ends) and not given:
            return 0
        for row, rows in given:
            self.stacks.give(row, rows)
        for value in ends:
            self._read(value)
        return len(self.moved)

    def _is_read(self, value: oir.Value) -> bool:
        """Whether nodes that stay read a value, or it is a state of the next step."""
        is_state = value.is_graph_output() and value not in self.given
        return is_state or not self.moved.issuperset(value.consumers())

    def _is_shorter_with(self, node: oir.Node) -> bool:
        """Whether the body is shorter with a node than with the rows of its results; it is the last of those moved."""
        ends = sum(map(self._is_read, node.outputs))
        before = {v for v in inputs(node) if v.producer() in self.moved and not self._is_read(v)}
        return 1 + len(before) + 2 * len(self.given.intersection(node.outputs)) < ends

    def _read(self, value: oir.Value) -> None:
        """Read a row of the array in place of a value."""
        body, row = self.found.body, self.found.read(self.stacks.of(value), value)
        for use in list(value.uses()):
            if use.node not in self.moved:
                use.node.replace_input_with(use.idx, row)
        if value.is_graph_output() and value not in self.given:
            copy = oir.node("Identity", [row], outputs=[oir.val(None, value.dtype, value.shape)])
            body.append(copy)
            for i, output in enumerate(body.outputs):
                if output is value:
                    body.outputs[i] = copy.outputs[0]
