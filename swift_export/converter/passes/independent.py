"""The nodes of a loop's body that need no other steps, with the arrays of their values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import onnx_ir as oir

from swift_export.converter.passes.factors import as_factor
from swift_export.converter.passes.loops import CONDITION, COUNT_AND_CONDITION, body_of
from swift_export.converter.passes.match import inputs, made_by, sizes
from swift_export.converter.passes.stacked_ops import consider
from swift_export.converter.passes.stacks import Stacks

__all__ = ["Independent"]

#: Elements of the largest array that may be made, or how many times those of an array that the loop reads or writes.
LARGEST, RATIO = 2**22, 16


class Independent:
    """The ``nodes`` of a loop's body that depend only on the step and on rows of arrays, in their order.

    ``stacks`` has the arrays of their values, none of which is much larger than those that the loop reads and writes.
    ``index`` is where a step's row stands in them.
    """

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
        self._arrays = [sizes(inputs(node)[0]) for node in reads] + [sizes(rows) for _, rows in self.rows]
        self.nodes = [node for node in self.body if all(map(self.fits, node.outputs)) and consider(self.stacks, node)]

    def fits(self, value: oir.Value) -> bool:
        """Whether the array of a value would not be too large."""
        number, names = _elements(self.stacks.shape(value))
        if not names and number <= LARGEST:
            return True
        return any(names <= others and number <= RATIO * most for most, others in map(_elements, self._arrays))

    def read(self, stacked: oir.Value, like: oir.Value) -> oir.Value:
        """The step's row of an array, in place of a value of the body."""
        producer, maker = like.producer(), self.index.producer()
        row = oir.val(None, like.dtype, like.shape)
        properties = dict((producer or self.loop).metadata_props)
        node = oir.node("Gather", [stacked, self.index], {"axis": 0}, outputs=[row], metadata_props=properties)
        if maker is None:
            self.body.insert_before(self.body[0], node)
        else:
            self.body.insert_after(maker, node)
        return row


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
