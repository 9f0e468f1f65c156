"""Solves states of loops that are linear in themselves: ``h' = a * h + b``, with a and b from rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.independent import Independent
from swift_export.converter.passes.linear_scans import LinearScan
from swift_export.converter.passes.loops import (
    CONDITION,
    COUNT_AND_CONDITION,
    KEPT,
    STEP_AND_CONDITION,
    TURN,
    counted_loops,
    drop_unread_states,
    source_of,
)
from swift_export.converter.passes.match import constant_like, inputs, made_by, new_value, replace, sizes
from swift_export.converter.passes.nested import ROOT, root

__all__ = ["solve_linear_recurrences"]

#: The fewest steps, and the most elements of a state, with which blocks of steps are faster than one after the other.
FEWEST, MOST = 32, 2**14
#: The largest sum of squares of the states that proves that none is infinite or NaN.
LARGEST = 1e30


def solve_linear_recurrences(graph: oir.Graph) -> int:
    """A state ``h' = a * h + b`` of floats, with a and b that need no other steps -> its values of all steps.

    They are computed in blocks, in front of the loop, and become rows that the body reads. That is exact to rounding
    while no number overflows: if a result is not finite, the steps are taken one by one.
    """
    for loop, steps in counted_loops(graph):
        states = range(len(loop.inputs) - COUNT_AND_CONDITION)
        if isinstance(steps, int) and steps >= FEWEST and any(_solve(graph, loop, steps, k) for k in states):
            drop_unread_states(graph)
            return 1
    return 0


def _solve(graph: oir.Graph, loop: oir.Node, steps: int, k: int) -> bool:
    """Solve one state of a loop, if it is linear."""
    found = Independent(graph, loop, steps)
    state, end, start = found.body.inputs[STEP_AND_CONDITION + k], found.body.outputs[CONDITION + k], loop.inputs[2 + k]
    after, form = source_of(end), _Form(found, state)
    if start is None or not state.uses() or not _is_small(found, state) or after is state or not form.has(after):
        return False
    scan = LinearScan(graph, loop, sizes(state), backwards=found.stacks.backwards)
    factor, added = form.of(after)
    added = _full(scan, added, start, steps)
    if factor is None:
        states = added
    elif factor == 1:
        states = scan.running_sum(added, start)
    else:
        assert isinstance(factor, oir.Value)
        states = _checked(scan, factor, added, start, scan.states(factor, added, start, steps))
    before = found.read(scan.before_each(states, start), state)
    state.replace_all_uses_with(before)
    row = found.read(states, after)
    for use in list(after.uses()):
        if use.node.outputs[0] is not end:
            use.node.replace_input_with(use.idx, row)
    replace(graph, loop.outputs[k], scan.last(states))
    return True


def _is_small(found: Independent, state: oir.Value) -> bool:
    """Whether blocks of a state's steps are faster than one step after the other, and their arrays not too large."""
    numbers = [size for size in sizes(state) if isinstance(size, int)]
    floats = state.dtype in (oir.DataType.FLOAT, oir.DataType.DOUBLE)
    # A Reshape infers one unknown size.
    return floats and 0 < math.prod(numbers) <= MOST and len(numbers) >= len(sizes(state)) - 1 and found.fits(state)


#: A factor: a value, 1, or None for 0.
_Factor = oir.Value | int | None


class _Form:
    """Values of a body as ``factor * state + added``: arrays in front of the loop."""

    def __init__(self, found: Independent, state: oir.Value) -> None:
        self.graph, self.loop, self.stacks, self.state = found.graph, found.loop, found.stacks, state
        self._rank = len(sizes(state))

    def has(self, value: oir.Value | None) -> bool:
        """Whether a value has the form."""
        if value is None or value is self.state or self._is_free(value):
            return value is not None
        node = made_by(value, "Add", "Div", "Identity", "Mul", "Neg", "Sub", "Where")
        if node is None or not all(map(self.has, node.inputs)) or sizes(value) != sizes(self.state):
            return False
        free = list(map(self._is_free, inputs(node)))
        return {"Div": free[-1], "Mul": any(free), "Where": free[0]}.get(node.op_type, True)

    def of(self, value: oir.Value | None) -> tuple[_Factor, oir.Value | None]:
        """The factor and what is added; None for 0."""
        assert value is not None
        if value is self.state:
            return 1, None
        if self._is_free(value):
            return None, self._array(value)
        node = value.producer()
        assert node is not None
        parts = [self.of(operand) for operand in node.inputs]
        if node.op_type == "Identity":
            return parts[0]
        if node.op_type == "Where":
            condition = self._array(inputs(node)[0])
            (f, a), (g, b) = parts[1:]
            return self._chosen(condition, f, g), self._chosen(condition, a, b)
        if node.op_type in ("Mul", "Div"):
            (f, a), (g, b) = parts
            scale = b if g is None else a
            ours = (f, a) if g is None else (g, b)
            return self._scaled(node.op_type, ours[0], scale), self._scaled(node.op_type, ours[1], scale)
        if node.op_type == "Neg":
            ((f, a),) = parts
            return self._combined("Sub", None, f), self._combined("Sub", None, a)
        (f, a), (g, b) = parts
        return self._combined(node.op_type, f, g), self._combined(node.op_type, a, b)

    def _is_free(self, value: oir.Value) -> bool:
        return not self.stacks.varies(value) or self.stacks.has(value)

    def _array(self, value: oir.Value) -> oir.Value:
        return self.stacks.raised(value, self._rank) if self.stacks.varies(value) else value

    def _value(self, factor: _Factor) -> oir.Value:
        if isinstance(factor, oir.Value):
            return factor
        assert self.state.dtype is not None
        return constant_like(self.graph, np.asarray(factor or 0, self.state.dtype.numpy()))

    def _scaled(self, op_type: str, value: _Factor, scale: oir.Value | None) -> oir.Value | None:
        if value is None:
            return None
        return scale if value == 1 and op_type == "Mul" else self._node(op_type, self._value(value), self._value(scale))

    def _combined(self, op_type: str, a: _Factor, b: _Factor) -> Any:
        if b is None or (a is None and op_type == "Add"):
            return a if b is None else b
        if a is None:
            return self._node("Neg", self._value(b))
        return self._node(op_type, self._value(a), self._value(b))

    def _chosen(self, condition: oir.Value, a: _Factor, b: _Factor) -> Any:
        if a is None and b is None:
            return None
        return self._node("Where", condition, self._value(a), self._value(b))

    def _node(self, op_type: str, *operands: oir.Value) -> oir.Value:
        shape = _broadcast(*map(sizes, operands))
        return new_value(self.graph, self.loop, op_type, operands, shape, dtype=self.state.dtype)


def _broadcast(*shapes: Sequence[int | str]) -> list[int | str]:
    rank = max(map(len, shapes))
    aligned: list[list[int | str]] = [[*[1] * (rank - len(shape)), *shape] for shape in shapes]
    return [next((size for size in axis if size != 1), 1) for axis in zip(*aligned, strict=True)]


def _full(scan: LinearScan, added: oir.Value | None, start: oir.Value, steps: int) -> oir.Value:
    """What is added, with the shape of all states."""
    whole = [steps, *scan.shape]
    if added is None:
        assert start.dtype is not None
        added = constant_like(scan.graph, np.asarray(0, start.dtype.numpy()))
    if sizes(added) == whole:
        return added
    known = [size for size in whole if isinstance(size, int)]
    if len(known) == len(whole):
        shape = constant_like(scan.graph, np.asarray(known, np.int64))
    else:
        rest = new_value(scan.graph, scan.before, "Shape", [start], [len(scan.shape)], dtype=oir.DataType.INT64)
        front = constant_like(scan.graph, np.asarray([steps], np.int64))
        shape = scan.node("Concat", [front, rest], [len(whole)], axis=0)
    return scan.node("Expand", [added, shape], whole)


def _checked(scan: LinearScan, factor: oir.Value, added: oir.Value, start: oir.Value, states: oir.Value) -> oir.Value:
    """The states, if all are finite, else those of a loop."""
    graph, before = scan.graph, scan.before
    assert states.dtype is not None
    total = scan.node("ReduceSumSquare", [states], [], keepdims=0)
    most = constant_like(graph, np.asarray(LARGEST, states.dtype.numpy()))
    finite = new_value(graph, before, "LessOrEqual", [total, most], [], dtype=oir.DataType.BOOL)
    blocks, stepwise = (oir.Graph([], [], nodes=[], name=name) for name in ("blocks", "stepwise"))
    for branch in (blocks, stepwise):
        branch.meta[ROOT] = root(graph)
    _append(blocks, "Identity", [states], states.dtype, sizes(states))
    rows = _stepwise(stepwise, scan, factor, added, start)
    if scan.backwards:
        cut = [constant_like(graph, np.asarray([n], np.int64)) for n in TURN]
        rows = _append(stepwise, "Slice", [rows, *cut], states.dtype, sizes(states))
    blocks.outputs.append(blocks[-1].outputs[0])
    stepwise.outputs.append(rows)
    (result,) = [oir.val(None, states.dtype, list(sizes(states)))]
    branches = {"then_branch": blocks, "else_branch": stepwise}
    properties = dict(before.metadata_props)
    graph.insert_before(before, oir.node("If", [finite], branches, outputs=[result], metadata_props=properties))
    return result


def _stepwise(graph: oir.Graph, scan: LinearScan, factor: oir.Value, added: oir.Value, start: oir.Value) -> oir.Value:
    """A loop over ``h' = a * h + b``: its rows, in the order of its steps."""
    dtype, shape, steps = added.dtype, scan.shape, sizes(added)[0]
    assert dtype is not None
    assert isinstance(steps, int)
    step, going = oir.val(None, oir.DataType.INT64, []), oir.val(None, oir.DataType.BOOL, [])
    state = oir.val(None, dtype, list(shape))
    body = oir.Graph([step, going, state], [], nodes=[], name="body")
    body.meta[KEPT], body.meta[ROOT] = True, root(graph)
    index: oir.Value = step
    if scan.backwards:
        last = constant_like(scan.graph, np.asarray(steps - 1, np.int64))
        index = _append(body, "Sub", [last, step], oir.DataType.INT64, [])
    if len(sizes(factor)) > len(shape):
        factor = _append(body, "Gather", [factor, index], dtype, sizes(factor)[1:], axis=0)
    row = _append(body, "Gather", [added, index], dtype, shape, axis=0)
    kept = _append(body, "Mul", [factor, state], dtype, shape)
    after = _append(body, "Add", [kept, row], dtype, shape)
    copy = _append(body, "Identity", [after], dtype, shape)
    still = _append(body, "Identity", [going], oir.DataType.BOOL, [])
    body.outputs.extend([still, after, copy])
    count = constant_like(scan.graph, np.asarray(steps, np.int64))
    outputs = [oir.val(None, dtype, list(shape)), oir.val(None, dtype, [steps, *shape])]
    graph.append(oir.node("Loop", [count, None, start], {"body": body}, outputs=outputs))
    return outputs[1]


def _append(
    graph: oir.Graph,
    op_type: str,
    operands: Sequence[oir.Value],
    dtype: oir.DataType,
    shape: Sequence[int | str],
    **attributes: int,
) -> oir.Value:
    output = oir.val(None, dtype, list(shape))
    graph.append(oir.node(op_type, operands, attributes, outputs=[output]))
    return output
