"""Cells in a scan whose states stay where a row's mask is false, as sequences of different lengths have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.independent import Independent
from swift_export.converter.passes.match import array, constant_like, inputs, made_by, new_value, sizes

__all__ = ["Lengths", "Mask"]

BOOL, INT32 = oir.DataType.BOOL, oir.DataType.INT32


@dataclass(frozen=True)
class Mask:
    """The truth value of a row on which all states become their ``ends``, or stay; ``takes`` is that of new ones."""

    value: oir.Value
    takes: bool
    ends: list[oir.Value]

    @classmethod
    def of(cls, states: Sequence[oir.Value], ends: Sequence[oir.Value]) -> Mask | None:
        """The mask of states that have these ends."""
        found = [_choice(end, lambda old, state=state: old is state) for state, end in zip(states, ends, strict=True)]
        if not found or found[0] is None:
            return None
        value, takes, _ = found[0]
        alike = [choice for choice in found if choice is not None and choice[:2] == (value, takes)]
        return cls(value, takes, [new for _, _, new in alike]) if len(alike) == len(found) else None

    def zeroes(self, row: oir.Value, result: oir.Value) -> bool:
        """Whether a row is the result where the mask takes it, and 0 elsewhere."""
        return _choice(row, _is_zero) == (self.value, self.takes, result)


def _choice(value: oir.Value, is_old: Any) -> tuple[oir.Value, bool, oir.Value] | None:
    """A condition, the truth value with which it takes something new, and the latter."""
    node = made_by(value, "Where")
    if node is None or any(sizes(value) != sizes(v) for v in inputs(node)[1:] if not _is_zero(v)):
        return None
    condition, yes, no = inputs(node)
    if is_old(no):
        return condition, True, yes
    return (condition, False, no) if is_old(yes) else None


def _is_zero(value: oir.Value) -> bool:
    repeated = made_by(value, "Expand")
    elements = array(value if repeated is None else repeated.inputs[0])
    return elements is not None and not elements.any()


class Lengths:
    """The lengths of a batch's sequences: how many rows in front the mask takes, if it takes no others.

    ``skipped`` holds for each step whether a sequence leaves it out, ``fit`` whether there are lengths, of at least 1,
    of each sequence.
    """

    def __init__(self, graph: oir.Graph, loop: oir.Node, found: Independent, mask: Mask) -> None:
        self._graph, self._loop = graph, loop
        stacks = found.stacks
        shape = stacks.shape(mask.value)
        truth = stacks.of(mask.value)
        false = constant_like(graph, np.asarray(False))
        other = self._node("Equal", [truth, false], shape, BOOL)
        taken, self.skipped = (truth, other) if mask.takes else (other, truth)
        counted = self._node("Cast", [taken], shape, INT32, to=INT32.value)
        self.values = self._node("ReduceSum", [counted, self._vector([0, 2])], shape[1:2], INT32, keepdims=0)
        order = self._order(found)
        ends = self._node("Unsqueeze", [self.values, self._vector([1])], shape[1:], INT32)
        before = self._node("Less", [order, ends], shape, BOOL)
        alike = self._node("Cast", [self._node("Equal", [before, taken], shape, BOOL)], shape, INT32, to=INT32.value)
        one = constant_like(graph, np.asarray(1, np.int32))
        parts = [self._node("ReduceMin", [v], [], INT32, keepdims=0) for v in (alike, self.values)]
        checks = [self._node("GreaterOrEqual", [part, one], [], BOOL) for part in parts]
        self.fit = self._node("And", checks, [], BOOL)

    @staticmethod
    def exist(found: Independent, mask: Mask, row: oir.Value) -> bool:
        """Whether there are such lengths: one truth value for each sequence of the batch that a row has."""
        batch = sizes(row)[:-1]
        return len(batch) == 1 and sizes(mask.value) == [*batch, 1] and found.stacks.has(mask.value)

    def _order(self, found: Independent) -> oir.Value:
        """0, 1, ... as an array (steps, 1, 1)."""
        count = found.stacks.count
        if isinstance(count, int):
            return constant_like(self._graph, np.arange(count, dtype=np.int32).reshape(-1, 1, 1))
        zero, one = (constant_like(self._graph, np.asarray(n, np.int64)) for n in (0, 1))
        steps = self._loop.inputs[0]
        assert steps is not None
        order = self._node("Range", [zero, steps, one], [count], oir.DataType.INT64)
        order = self._node("Cast", [order], [count], INT32, to=INT32.value)
        return self._node("Unsqueeze", [order, self._vector([1, 2])], [count, 1, 1], INT32)

    def _node(
        self,
        op_type: str,
        operands: Sequence[oir.Value],
        shape: Sequence[int | str],
        dtype: oir.DataType,
        **attributes: int,
    ) -> oir.Value:
        return new_value(self._graph, self._loop, op_type, operands, shape, attributes, dtype=dtype)

    def _vector(self, numbers: Sequence[int]) -> oir.Value:
        return constant_like(self._graph, np.asarray(list(numbers), np.int64))
