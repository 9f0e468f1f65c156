"""Control flow: while -> Loop, if and case -> If."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.counted_loops import counted_loop

__all__: list[str] = []


@rule("stablehlo.while")
def while_loop(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """A Loop that runs while its condition is true. Values that the body passes on unchanged are not state of the
    loop: the body reads them from outside.
    """
    b = frame.builder
    condition, body = (region.blocks[0] for region in op.regions)
    initial = list(op.operands)
    returned = list(list(body.operations)[-1].operands)
    states = [
        i for i, (value, parameter) in enumerate(zip(returned, body.arguments, strict=True)) if value != parameter
    ]
    for result, operand in zip(op.results, initial, strict=True):
        frame.shapes[result] = frame.shape(operand)
    if not states:
        return [frame.compact(operand) for operand in initial]
    counted = counted_loop(frame, op, states)
    if counted is not None:
        return counted

    inner = frame.nested()
    parameters = [inner.builder.parameter(frame.dtype(initial[i]), frame.shape(initial[i])) for i in states]
    counter = inner.builder.parameter(oir.DataType.INT64, ())
    going = inner.builder.parameter(oir.DataType.BOOL, ())
    for i, parameter in enumerate(body.arguments):
        if i not in states:
            inner.bind(parameter, frame, initial[i])
    for i, value in zip(states, parameters, strict=True):
        inner.values[body.arguments[i]], inner.shapes[body.arguments[i]] = value, frame.shape(initial[i])
    inner.run(op.regions[1])
    for i in states:
        if inner.shape(returned[i]) != frame.shape(initial[i]):
            raise frame.error(op, f"state {i} of shape {frame.shape(initial[i])} becomes {inner.shape(returned[i])}")

    def holds(outer: Frame, values: Sequence[Any]) -> oir.Value:
        test = outer.copy(outer.builder)
        for parameter, value in zip(condition.arguments, values, strict=True):
            test.bind(parameter, outer, value)
        (answer,) = test.run(op.regions[0])
        return test.full(answer)

    graph = inner.builder.body(
        [counter, going, *parameters], [holds(inner, returned), *[inner.full(returned[i]) for i in states]], "body"
    )
    results = b.node_outputs(
        "Loop",
        [None, holds(frame, initial), *[frame.full(initial[i]) for i in states]],
        [(frame.dtype(initial[i]), frame.shape(initial[i])) for i in states],
        body=graph,
    )
    by_state = dict(zip(states, results, strict=True))
    return [by_state[i] if i in by_state else frame.compact(operand) for i, operand in enumerate(initial)]


@rule("stablehlo.if")
def if_else(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """One of two branches, by a truth value; a value known at translation time leaves only its branch."""
    known = frame.known_elements(op.operands[0])
    if known is not None and isinstance(known[0], int):
        return frame.take(op, frame, frame.run(op.regions[0 if known[0] else 1]))
    return _choose(frame, op, frame.full(op.operands[0]), op.regions[0], op.regions[1:])


@rule("stablehlo.case")
def case(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """One of several branches. An index out of range takes the last one, as StableHLO defines. An index known at
    translation time, like the platform index of a module for several platforms, leaves only its branch.
    """
    known = frame.known_elements(op.operands[0])
    if known is not None and isinstance(known[0], int):
        branch = known[0] if 0 <= known[0] < len(op.regions) else len(op.regions) - 1
        return frame.take(op, frame, frame.run(op.regions[branch]))
    return _among(frame, op, frame.full(op.operands[0]), op.regions, 0)


def _among(frame: Frame, op: Any, index: oir.Value, regions: Sequence[Any], first: int) -> list[oir.Value]:
    chosen = frame.builder.truth("Equal", index, frame.builder.scalar(first, oir.DataType.INT32))
    return _choose(frame, op, chosen, regions[0], regions[1:], index, first)


def _choose(
    frame: Frame,
    op: Any,
    condition: oir.Value,
    region: Any,
    others: Sequence[Any],
    index: oir.Value | None = None,
    first: int = 0,
) -> list[oir.Value]:
    """An If between the first region and the others; ``index`` selects one of them if there are several."""
    if index is not None and not others:
        return frame.take(op, frame, frame.run(region))
    then, then_shapes = _branch(frame, op, lambda inner: inner.run(region))
    if len(others) == 1:
        orelse, else_shapes = _branch(frame, op, lambda inner: inner.run(others[0]))
    else:
        assert index is not None
        inner = frame.nested()
        values = _among(inner, op, index, others, first + 1)
        orelse, else_shapes = inner.builder.body([], values, "else"), [inner.builder.shape(v) for v in values]
    for a, c in zip(then_shapes, else_shapes, strict=True):
        if a != c:
            raise frame.error(op, f"expected branches with results of one shape, found {a} and {c}")
    for result, shape in zip(op.results, then_shapes, strict=True):
        frame.shapes[result] = shape
    return frame.builder.node_outputs(
        "If",
        [condition],
        [(frame.dtype(r), s) for r, s in zip(op.results, then_shapes, strict=True)],
        then_branch=then,
        else_branch=orelse,
    )


def _branch(frame: Frame, op: Any, run: Any) -> tuple[oir.Graph, list[Shape]]:
    inner = frame.nested()
    values = [inner.full(value) for value in run(inner)]
    return inner.builder.body([], values, "branch"), [inner.builder.shape(v) for v in values]
