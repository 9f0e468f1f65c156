"""All states of ``h' = a * h + b``, computed in blocks of steps instead of one step after the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, constant_like, flattened, new_value, sizes

__all__ = ["LinearScan"]

#: Steps of a block if the factor is one constant: its states are one product with a matrix of the factor's powers.
#: With other factors, steps of a block are taken one by one, for all blocks at once.
LONG, SHORT = 32, 8


class LinearScan:
    """Makes nodes in front of a loop, on arrays with an axis of steps in front.

    Along ``shape``, that of a state, arrays may have fewer axes, or one element for all.
    """

    def __init__(self, graph: oir.Graph, before: oir.Node, shape: Sequence[int | str], *, backwards: bool) -> None:
        self.graph, self.before, self.shape, self.backwards = graph, before, list(shape), backwards

    def states(self, factor: oir.Value, added: oir.Value, start: oir.Value, steps: int) -> oir.Value:
        """The states after each step. ``factor`` has an axis of steps, or is equal in all of them; ``added`` has the
        shape (steps, *shape).
        """
        number = array(factor)
        if number is not None and number.size == 1 and abs(number.item()) <= 1:
            return self._by_powers(number.item(), added, start, steps)
        if len(sizes(factor)) <= len(self.shape):
            factor = self.node("Unsqueeze", [factor, self._vector([0])], [1, *sizes(factor)])
        return self._by_steps(factor, added, start, steps)

    def running_sum(self, added: oir.Value, start: oir.Value) -> oir.Value:
        """The states if the factor is 1: summed in the order of the steps."""
        zero = constant_like(self.graph, np.asarray(0, np.int64))
        first = self._rows_of(start)
        steps = sizes(added)[0]
        assert isinstance(steps, int)
        parts = [added, first] if self.backwards else [first, added]
        whole = self.node("Concat", parts, [steps + 1, *self.shape], axis=0)
        summed = self.node("CumSum", [whole, zero], [steps + 1, *self.shape], reverse=int(self.backwards))
        return self._cut(summed, 0, *((0, steps) if self.backwards else (1, steps + 1)))

    def before_each(self, states: oir.Value, start: oir.Value) -> oir.Value:
        """The states before each step, of those after each."""
        steps = sizes(states)[0]
        assert isinstance(steps, int)
        first = self._rows_of(start)
        if steps == 1:
            return first
        rest = self._cut(states, 0, *((1, steps) if self.backwards else (0, steps - 1)))
        parts = [rest, first] if self.backwards else [first, rest]
        return self.node("Concat", parts, sizes(states), axis=0)

    def last(self, states: oir.Value) -> oir.Value:
        """The state after all steps."""
        steps = sizes(states)[0]
        assert isinstance(steps, int)
        place = constant_like(self.graph, np.asarray(0 if self.backwards else steps - 1, np.int64))
        return self.node("Gather", [states, place], self.shape, axis=0)

    def node(
        self, op_type: str, operands: Sequence[oir.Value], shape: Sequence[int | str], **attributes: Any
    ) -> oir.Value:
        """The result of a node of its first operand's type."""
        return new_value(self.graph, self.before, op_type, operands, shape, attributes)

    def _by_powers(self, factor: float, added: oir.Value, start: oir.Value, steps: int) -> oir.Value:
        """``h[i] = sum(factor ** (i - j) * b[j]) + factor ** (i + 1) * start`` in each block."""
        dtype = added.dtype
        assert dtype is not None
        length = min(steps, LONG)
        blocks = -(-steps // length)
        place = np.arange(length)
        ages = (place[:, None] - place) * (-1 if self.backwards else 1)
        powers = np.where(ages >= 0, float(factor) ** np.maximum(ages, 0), 0).astype(dtype.numpy())
        decay = float(factor) ** (1 + (place[::-1] if self.backwards else place)).astype(float)
        ones = [1] * len(self.shape)
        matrix = constant_like(self.graph, powers)
        decays = constant_like(self.graph, decay.astype(dtype.numpy()).reshape(1, length, *ones))
        whole = self._blocks(added, blocks, length)
        elements = flattened(self.shape)
        assert elements is not None
        flat = self.node("Reshape", [whole, self._vector([blocks, length, -1])], [blocks, length, elements])
        local = self.node("MatMul", [matrix, flat], sizes(flat))
        local = self.node("Reshape", [local, self._target([blocks, length])], sizes(whole))
        if blocks == 1:
            entering = self._rows_of(start)
        else:
            ends = self._ends(local)
            entering = self.before_each(self._by_powers(float(factor) ** length, ends, start, blocks), start)
        return self._joined(local, decays, entering, steps)

    def _by_steps(self, factor: oir.Value, added: oir.Value, start: oir.Value, steps: int) -> oir.Value:
        """The states of all blocks step by step from 0, with the products of factors; then what enters each block."""
        length = SHORT if steps > 2 * SHORT else steps
        blocks = -(-steps // length)
        varies = sizes(factor)[0] != 1
        ones = [1] * (len(self.shape) + 1 - len(sizes(factor)))
        like = [*sizes(factor)[:1], *ones, *sizes(factor)[1:]]
        if ones:
            factor = self.node("Unsqueeze", [factor, self._vector(range(1, 1 + len(ones)))], like)
        whole = self._blocks(added, blocks, length)
        news = self._parts(whole, length)
        if varies:
            factors = self._parts(self._blocks(factor, blocks, length), length)
        else:
            factors = [self.node("Unsqueeze", [factor, self._vector([1])], [1, 1, *like[1:]])] * length
        order = list(range(length))[:: -1 if self.backwards else 1]
        products, states = {order[0]: factors[order[0]]}, {order[0]: news[order[0]]}
        for i, j in itertools.pairwise(order):
            products[j] = self.node("Mul", [products[i], factors[j]], sizes(products[i]))
            kept = self.node("Mul", [factors[j], states[i]], sizes(states[i]))
            states[j] = self.node("Add", [kept, news[j]], sizes(states[i]))
        local = self.node("Concat", [states[i] for i in range(length)], sizes(whole), axis=1)
        decay = [sizes(products[0])[0], length, *sizes(products[0])[2:]]
        decays = self.node("Concat", [products[i] for i in range(length)], decay, axis=1)
        if blocks == 1:
            entering = self._rows_of(start)
        else:
            ends = self._by_steps(self._ends(decays), self._ends(local), start, blocks)
            entering = self.before_each(ends, start)
        return self._joined(local, decays, entering, steps)

    def _joined(self, local: oir.Value, decays: oir.Value, entering: oir.Value, steps: int) -> oir.Value:
        """The states of all blocks, with those that enter them."""
        blocks, length = sizes(local)[:2]
        assert isinstance(blocks, int)
        assert isinstance(length, int)
        behind = self.node("Unsqueeze", [entering, self._vector([1])], [sizes(entering)[0], 1, *self.shape])
        reached = self.node("Mul", [decays, behind], sizes(local))
        whole = self.node("Add", [local, reached], sizes(local))
        flat = self.node("Reshape", [whole, self._target([blocks * length])], [blocks * length, *self.shape])
        more = blocks * length - steps
        return self._cut(flat, 0, *((more, steps + more) if self.backwards else (0, steps)))

    def _blocks(self, rows: oir.Value, blocks: int, length: int) -> oir.Value:
        """Rows as (blocks, length, ...); zeros fill the block that is worked on last."""
        steps, *rest = sizes(rows)
        assert isinstance(steps, int)
        more = blocks * length - steps
        if more:
            edges = [0] * (2 * len(sizes(rows)))
            edges[0 if self.backwards else len(sizes(rows))] = more
            rows = self.node("Pad", [rows, self._vector(edges)], [blocks * length, *rest])
        target = [blocks, length, *(size if isinstance(size, int) else -1 for size in rest)]
        return self.node("Reshape", [rows, self._vector(target)], [blocks, length, *rest])

    def _parts(self, whole: oir.Value, length: int) -> list[oir.Value]:
        """The steps of all blocks, one by one."""
        if length == 1:
            return [whole]
        blocks, _, *rest = sizes(whole)
        outputs = [oir.val(None, whole.dtype, [blocks, 1, *rest]) for _ in range(length)]
        properties = dict(self.before.metadata_props)
        lengths = self._vector([1] * length)
        node = oir.node("Split", [whole, lengths], {"axis": 1}, outputs=outputs, metadata_props=properties)
        self.graph.insert_before(self.before, node)
        return outputs

    def _ends(self, whole: oir.Value) -> oir.Value:
        """The last step of each block."""
        blocks, length, *rest = sizes(whole)
        assert isinstance(length, int)
        place = constant_like(self.graph, np.asarray(0 if self.backwards else length - 1, np.int64))
        return self.node("Gather", [whole, place], [blocks, *rest], axis=1)

    def _rows_of(self, start: oir.Value) -> oir.Value:
        return self.node("Unsqueeze", [start, self._vector([0])], [1, *self.shape])

    def _cut(self, value: oir.Value, axis: int, start: int, end: int) -> oir.Value:
        if (start, end) == (0, sizes(value)[axis]):
            return value
        shape = [end - start if a == axis else size for a, size in enumerate(sizes(value))]
        return self.node("Slice", [value, *(self._vector([n]) for n in (start, end, axis))], shape)

    def _target(self, front: list[int]) -> oir.Value:
        return self._vector([*front, *(size if isinstance(size, int) else -1 for size in self.shape)])

    def _vector(self, numbers: Sequence[int]) -> oir.Value:
        return constant_like(self.graph, np.asarray(list(numbers), np.int64))
