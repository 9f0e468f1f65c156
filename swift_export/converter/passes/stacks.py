"""The values of a loop's body for all steps at once: arrays in front of the loop, or behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.loops import TURN, body_of, length_of, replace_turned
from swift_export.converter.passes.match import can_replace, constant_like, integers, made_by, replace, sizes

__all__ = ["Make", "Stacks"]

Shape = Sequence[int | str]
#: The most steps whose numbers the file holds.
LONGEST = 1024
#: Makes the arrays of a node's outputs.
Make = Callable[[], Sequence[oir.Value]]


class Stacks:
    """The arrays that hold values of a loop's body, one row a step.

    ``count`` is the number of steps. The rows stand in the order of the steps, or ``backwards``. Nodes are added in
    their order; the array of a value is made when it is asked for, in front of the node ``before``.
    """

    def __init__(
        self, graph: oir.Graph, loop: oir.Node, count: int | str, *, backwards: bool, before: oir.Node | None = None
    ) -> None:
        self.graph, self.loop, self.body = graph, loop, body_of(loop)
        self._before = loop if before is None else before
        self.count, self.backwards = count, backwards
        self._makers: dict[oir.Node, Make] = {}
        self._made: dict[oir.Value, oir.Value] = {}
        self._known = {self.body.inputs[0]}

    def add(self, node: oir.Node, make: Make) -> None:
        """Note how the arrays of a node's outputs are made."""
        self._makers[node] = make
        self._known.update(node.outputs)

    def expect(self, values: Iterable[oir.Value]) -> None:
        """Take values as such that have arrays, which `put` gives later."""
        self._known.update(values)

    def put(self, value: oir.Value, stacked: oir.Value) -> None:
        """Give the array of a value."""
        self._made[value] = stacked

    def give(self, value: oir.Value, rows: oir.Value) -> None:
        """Read the array of a value in place of the rows that the loop gives, in the order of the steps."""
        stacked = self.of(value)
        if not can_replace(rows, stacked):
            stacked = self.one("Identity", [stacked], sizes(stacked))
        if self.backwards:
            replace_turned(self.graph, rows, stacked)
        if rows.uses() or rows.is_graph_output():
            replace(self.graph, rows, self.turned(stacked) if self.backwards else stacked)

    def varies(self, value: oir.Value | None) -> bool:
        """Whether a value is one of the body: others are equal in all steps."""
        return value is not None and value.graph is self.body

    def has(self, value: oir.Value) -> bool:
        """Whether a value of the body has an array."""
        return value in self._known

    def of(self, value: oir.Value | None) -> oir.Value:
        """The array of a value of the body: its shape has the number of steps in front."""
        assert value is not None
        if value not in self._made:
            producer = value.producer()
            if producer is None:
                self._made[value] = self._steps()
            else:
                self._made.update(zip(producer.outputs, self._makers[producer](), strict=True))
        return self._made[value]

    def shape(self, value: oir.Value) -> list[int | str]:
        """The shape of a value's array."""
        return [self.count, *sizes(value)]

    def raised(self, value: oir.Value, rank: int) -> oir.Value:
        """The array of a value with so many axes behind that of the steps."""
        stacked = self.of(value)
        more = rank + 1 - len(sizes(stacked))
        if not more:
            return stacked
        shape = [self.count, *[1] * more, *sizes(stacked)[1:]]
        return self.one("Unsqueeze", [stacked, self.vector(range(1, 1 + more))], shape)

    def vector(self, numbers: Sequence[int]) -> oir.Value:
        """A constant of int64."""
        return constant_like(self.graph, np.asarray(list(numbers), np.int64))

    def length(self) -> oir.Value:
        """The number of steps, a vector of one element."""
        if isinstance(self.count, int):
            return self.vector([self.count])
        return self.one("Reshape", [self.loop.inputs[0], self.vector([1])], [1])

    def turned(self, rows: oir.Value) -> oir.Value:
        """The rows in the opposite order."""
        return self.one("Slice", [rows, *(self.vector([n]) for n in TURN)], sizes(rows))

    def rows(self, data: oir.Value, axis: int, index: oir.Value) -> oir.Value | None:
        """What an index reads along an axis, if that is the step or counts against it; None for other indices."""
        size, step = sizes(data)[axis], self.body.inputs[0]
        minus, plus = made_by(index, "Sub"), made_by(index, "Add")
        against = minus if minus is not None and minus.inputs[1] is step else None
        whole = index is step or (against is not None and length_of(against.inputs[0], 1) == size)
        if whole and size == self.count:
            value = data
        else:
            number: list[int] | None = None
            if index is step:
                number = [0]
            elif against is not None:
                number = integers(against.inputs[0])
            elif plus is not None and step in plus.inputs:
                number = integers(plus.inputs[1 - list(plus.inputs).index(step)])
            if number is None or not isinstance(self.count, int) or not isinstance(size, int):
                return None
            first = number[0] - (self.count - 1 if against is not None else 0)
            if not 0 <= first <= first + self.count <= size:
                return None
            cut = [self.vector([n]) for n in (first, first + self.count, axis)]
            value = self.one("Slice", [data, *cut], [self.count if a == axis else s for a, s in enumerate(sizes(data))])
        value = self.front(value, axis)
        return self.turned(value) if (against is not None) != self.backwards else value

    def gathered(self, data: oir.Value, places: oir.Value, axis: int) -> oir.Value:
        """The elements along an axis of an array from outside at the places of each step."""
        shape = [*sizes(data)[:axis], *sizes(places), *sizes(data)[axis + 1 :]]
        return self.front(self.one("Gather", [data, places], shape, axis=axis), axis)

    def front(self, value: oir.Value, axis: int) -> oir.Value:
        """A value with an axis moved to the front."""
        order = [axis, *(a for a in range(len(sizes(value))) if a != axis)]
        if not axis:
            return value
        return self.one("Transpose", [value], [sizes(value)[a] for a in order], perm=order)

    def one(self, op_type: str, operands: Sequence[oir.Value | None], shape: Shape, **attributes: Any) -> oir.Value:
        """The result of a new node, of its first operand's type."""
        assert operands[0] is not None
        return self.insert(self.loop, op_type, operands, [(operands[0].dtype, shape)], attributes)[0]

    def like(
        self, node: oir.Node, operands: Sequence[oir.Value | None], attributes: dict[str, Any] | None = None
    ) -> list[oir.Value]:
        """The results of the op of a node on arrays, with its attributes but for these."""
        results = [(value.dtype, self.shape(value)) for value in node.outputs]
        return self.insert(node, node.op_type, operands, results, {**node.attributes, **(attributes or {})})

    def insert(
        self,
        origin: oir.Node,
        op_type: str,
        operands: Sequence[oir.Value | None],
        results: Sequence[tuple[oir.DataType | None, Shape]],
        attributes: dict[str, Any],
    ) -> list[oir.Value]:
        """The results of a new node, in the scope of another one."""
        outputs = [oir.val(None, dtype, list(shape)) for dtype, shape in results]
        properties = dict(origin.metadata_props)
        node = oir.node(op_type, list(operands), attributes, outputs=outputs, metadata_props=properties)
        self.graph.insert_before(self._before, node)
        return outputs

    def _steps(self) -> oir.Value:
        """0, 1, ... in the order of the rows."""
        if isinstance(self.count, int) and self.count <= LONGEST:
            numbers = np.arange(self.count)
            return constant_like(self.graph, numbers[::-1].copy() if self.backwards else numbers)
        zero, one = (constant_like(self.graph, np.asarray(n, np.int64)) for n in (0, 1))
        found = self.one("Range", [zero, self.loop.inputs[0], one], [self.count])
        return self.turned(found) if self.backwards else found
