"""Loops with a counter: while -> a Loop with a trip count, whose arrays of one row a step are its scan outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size
from swift_export.converter.frame import Frame
from swift_export.converter.loop_rows import Rows, new_step, scalar
from swift_export.converter.mlir import is_small_integer
from swift_export.converter.passes.nested import detach
from swift_export.converter.shape_arithmetic import always, evaluate
from swift_export.errors import LoweringError

__all__ = ["counted_loop"]


def counted_loop(frame: Frame, op: Any, states: Collection[int]) -> list[oir.Value] | None:
    """The translation of a while whose counter goes from a known start in steps of one to a known end; None for others.

    ``states`` are the positions of the values that the body does not just pass on. Counters are known in each step and
    are no states; neither are arrays of which each step writes one row and that nothing reads. Which ones these are
    is tried: if the translated body shows that some are others, it is translated again. A single step needs no loop.
    """
    counter, count = _counter(frame, op, states)
    if counter is None or count is None:
        return None
    if count == 1:
        return _only_step(frame, op)
    returned = list(list(op.regions[1].blocks[0].operations)[-1].operands)
    counters = {j for j in states if _may_count(frame, op.operands[j], returned[j])}
    arrays = {
        j for j in states if _maker(frame, returned[j]) in ("stablehlo.dynamic_update_slice", "stablehlo.scatter")
    }
    while counter in counters:
        attempt = _Attempt(frame, op, count, counters, arrays, [j for j in states if j not in counters | arrays])
        try:
            attempt.inner.run(op.regions[1])
        except LoweringError:
            # What the states were taken for may be the reason.
            attempt.discard()
            return None
        wrong = attempt.wrong()
        if not wrong:
            return attempt.finish()
        attempt.discard()
        counters, arrays = counters - wrong, arrays - wrong
    return None


def _only_step(frame: Frame, op: Any) -> list[oir.Value]:
    inner = frame.copy(frame.builder)
    for parameter, operand in zip(op.regions[1].blocks[0].arguments, op.operands, strict=True):
        inner.bind(parameter, frame, operand)
    return frame.take(op, inner, inner.run(op.regions[1]))


def _counter(frame: Frame, op: Any, states: Collection[int]) -> tuple[int | None, Size | None]:
    """The position of the state that the condition compares with a known end, and the number of steps."""
    block = op.regions[0].blocks[0]
    test = frame.copy(frame.builder)
    for j, parameter in enumerate(block.arguments):
        if j not in states:
            test.bind(parameter, frame, op.operands[j])
        else:
            test.shapes[parameter] = frame.shape(op.operands[j])
    if len(list(block.operations)) < 2:
        return None, None
    *steps, compare, last = block.operations
    for step in steps:
        elements = evaluate(step, test.known, test.shapes, frame.builder.facts)
        if elements is None:
            return None, None
        test.known[step.results[0]], test.shapes[step.results[0]] = elements, elements.shape
    if compare.operation.name != "stablehlo.compare" or list(last.operands) != list(compare.results):
        return None, None
    at, end = compare.operands
    if "LT" not in str(compare.attributes["comparison_direction"]) or at not in list(block.arguments):
        return None, None
    counter, limit = list(block.arguments).index(at), test.known_elements(end)
    start = frame.known_elements(op.operands[counter])
    if limit is None or start is None or not is_small_integer(at.type):
        return None, None
    count = limit[0] - start[0]
    if isinstance(count, int):
        return counter, max(count, 0)
    return counter, count if always("GE", count, 0) else None


def _may_count(frame: Frame, initial: Any, returned: Any) -> bool:
    scalar_integer = is_small_integer(initial.type) and not list(initial.type.shape)
    return scalar_integer and initial in frame.known and _maker(frame, returned) == "stablehlo.add"


def _maker(frame: Frame, value: Any) -> str | None:
    """The name of the op that makes a value, through calls; None for a parameter."""
    op = getattr(value.owner, "operation", None)
    if op is None or op.name != "func.call":
        return None if op is None else str(op.name)
    body = frame.functions[op.attributes["callee"].value].regions[0].blocks[0]
    return _maker(frame, list(list(body.operations)[-1].operands)[list(op.results).index(value)])


class _Attempt:
    """The body of a loop, translated with some of its states as counters and as arrays of rows."""

    def __init__(
        self,
        frame: Frame,
        op: Any,
        count: Size,
        counters: Collection[int],
        arrays: Collection[int],
        carried: Sequence[int],
    ) -> None:
        self.frame, self.op, self.count = frame, op, count
        self.counters, self.arrays, self.carried = counters, arrays, carried
        block = op.regions[1].blocks[0]
        self.returned = list(list(block.operations)[-1].operands)
        self.inner = inner = frame.nested()
        self.turn = inner.builder.parameter(oir.DataType.INT64, ())
        self.step = new_step(str(frame.builder.fresh_symbol()), self.turn, count)
        self.rows = inner.rows = Rows(self.step, count)
        self.parameters: dict[int, oir.Value] = {}
        for j, (argument, operand) in enumerate(zip(block.arguments, op.operands, strict=True)):
            if j in counters:
                inner.known[argument], inner.shapes[argument] = _element(self._start(j) + self.step), ()
                continue
            inner.bind(argument, frame, operand)
            if j in arrays or j in carried:
                inner.known.pop(argument, None)
                value = inner.builder.parameter(frame.dtype(operand), frame.shape(operand))
                inner.values[argument] = self.parameters[j] = value
            if j in arrays:
                self.rows.initial[value] = frame.full(operand)

    def _start(self, j: int) -> Size:
        start = self.frame.known_elements(self.op.operands[j])
        assert start is not None
        return start[0]

    def wrong(self) -> set[int]:
        """The states that are not what they were taken for."""
        inner, returned = self.inner, self.returned
        wrong = {j for j in self.counters if inner.known_elements(returned[j]) != [self._start(j) + self.step + 1]}
        wrong |= {j for j in self.arrays if not self.rows.is_apart(self.parameters[j], inner.values.get(returned[j]))}
        apart = {self.parameters[j]: j for j in self.arrays}
        apart |= {result: apart[array] for array, (_, _, result) in self.rows.written.items()}
        values = [(j, inner.values.get(returned[j])) for j in (*self.carried, *self.arrays)]
        return wrong | {apart[v] for j, v in values if v is not None and apart.get(v, j) != j}

    def discard(self) -> None:
        """Take the nodes off the values that they read."""
        for node in self.inner.builder.nodes:
            detach(node)

    def finish(self) -> list[oir.Value]:
        """The Loop; gives the results that are not counters."""
        frame, inner, op, b = self.frame, self.inner, self.op, self.frame.builder
        for j in self.carried:
            shape, after = frame.shape(op.operands[j]), inner.shape(self.returned[j])
            if after != shape:
                raise frame.error(op, f"state {j} of shape {shape} becomes {after}")
        written = {j: self.rows.written[self.parameters[j]] for j in sorted(self.arrays)}
        going = inner.builder.parameter(oir.DataType.BOOL, ())
        outputs = [
            going,
            *[inner.full(self.returned[j]) for j in self.carried],
            *[row for _, row, _ in written.values()],
        ]
        # ONNX requires a condition if there is no state.
        forever = None if self.carried else b.scalar(True, oir.DataType.BOOL)
        body = inner.builder.body([self.turn, going, *[self.parameters[j] for j in self.carried]], outputs, "body")
        shapes: dict[int, Shape] = {j: frame.shape(op.operands[j]) for j in (*self.carried, *written)}
        for j in written:
            shapes[j] = (self.count, *shapes[j][1:])
        found = (
            b.node_outputs(
                "Loop",
                [scalar(b, self.count), forever, *[frame.full(op.operands[j]) for j in self.carried]],
                [(frame.dtype(op.operands[j]), shape) for j, shape in shapes.items()],
                body=body,
            )
            if shapes
            else []
        )
        results = dict(zip(shapes, found, strict=True))
        for j, (start, _, _) in written.items():
            results[j] = _shaped(b, results[j])
            whole = self.rows.initial[self.parameters[j]]
            place = self.rows.place(start, b.shape(whole))
            assert place is not None
            results[j] = _filled(b, whole, results[j], *place)
        for j in self.counters:
            frame.known[op.results[j]] = _element(self._start(j) + self.count)
        return [
            results[j] if j in results else frame.compact(op.operands[j])
            for j in range(len(op.operands))
            if op.results[j] not in frame.known
        ]


def _element(size: Size) -> np.ndarray:
    array = np.empty((), object)
    array[()] = size
    return array


def _shaped(b: Builder, rows: oir.Value) -> oir.Value:
    """Rows with their own unknown sizes if there are none: ONNX Runtime makes these 0 then."""
    count, *others = shape = b.shape(rows)
    if isinstance(count, int) or all(isinstance(size, int) for size in others):
        return rows
    assert rows.dtype is not None
    return b.node("Reshape", [rows, b.sizes(shape)], rows.dtype, tuple(shape), allowzero=1)


def _filled(b: Builder, whole: oir.Value, rows: oir.Value, first: Size, backwards: bool) -> oir.Value:
    """An array with rows, in or against their order, from ``first`` on."""
    shape, filled = b.shape(whole), b.shape(rows)
    low = np.iinfo(np.int64).min
    if backwards:
        rows = _slice(b, rows, (-1, low, -1), filled)
    end = first + filled[0]
    assert isinstance(first, int)
    assert whole.dtype is not None
    parts = [_slice(b, whole, (0, first, 1), (first, *shape[1:]))] if first else []
    parts.append(rows)
    if end != shape[0]:
        after = shape[0] - end
        parts.append(_slice(b, whole, (end, np.iinfo(np.int64).max, 1), (after, *shape[1:])))
    return rows if len(parts) == 1 else b.node("Concat", parts, whole.dtype, shape, axis=0)


def _slice(b: Builder, value: oir.Value, cut: tuple[Size, int, int], shape: Shape) -> oir.Value:
    start, end, step = cut
    assert value.dtype is not None
    return b.node("Slice", [value, b.sizes([start]), *[b.integers([n]) for n in (end, 0, step)]], value.dtype, shape)
