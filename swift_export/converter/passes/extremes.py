"""Maxima and minima that preserve NaN and the signs of zeros.

ONNX leaves both open, and ONNX Runtime loses them: a reduction returns NaN only if it comes first, and either of two
zeros. During the passes, a float ReduceMax or ReduceMin has StableHLO's meaning; in the finished graph, nodes around it
ensure that meaning.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    FLOATS,
    attribute,
    constant_like,
    inputs,
    made_by,
    new_value,
    only_use,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.nested import all_nodes
from swift_export.converter.passes.shifts import only_shifts

__all__ = ["complete_extremes", "forget_signs_of_zeros", "plain_extremes"]

#: The comparison of the reciprocals' extreme with 0 that holds if the extreme is +0; reciprocals of zeros are infinite.
POSITIVE = {"ReduceMax": "Greater", "ReduceMin": "GreaterOrEqual"}


def complete_extremes(graph: oir.Graph) -> int:
    """``ReduceMax(x)``, ``ReduceMin(x)`` of floats -> NaN if one is NaN, and +0 above -0, where it may matter."""
    count = 0
    for node in list(all_nodes(graph)):
        if node.op_type in POSITIVE and inputs(node)[0].dtype in FLOATS and not only_shifts(node):
            _complete(graph, node)
            count += 1
    return count


def plain_extremes(graph: oir.Graph) -> int:
    """Undo the completion, so that passes can match the reduction."""
    count = 0
    for node in list(all_nodes(graph)):
        found = _completed(node)
        if found is not None and (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
            assert isinstance(node.graph, oir.Graph)
            axes = {"keepdims": attribute(found, "keepdims", 1)}
            again = new_value(node.graph, node, found.op_type, inputs(found), sizes(node.outputs[0]), axes)
            replace(node.graph, node.outputs[0], again)
            count += 1
    return count


def forget_signs_of_zeros(graph: oir.Graph) -> int:
    """``Softmax(maximum(a, b))`` with nodes around the Max for the signs of zeros -> ``Softmax(Max(a, b))``.

    Exponentials of differences to the largest element do not distinguish -0 from 0.
    """
    count = 0
    for node in graph:
        choice = made_by(node.inputs[0], "Where") if node.op_type == "Softmax" else None
        if choice is None or only_use(choice.outputs[0]) is not node:
            continue
        _, signed, plain = inputs(choice)
        above = made_by(signed, "Max")
        if made_by(plain, "Max") is None or above is None or inputs(above)[0] is not plain:
            continue
        if scalar(inputs(above)[1]) == 0:
            node.replace_input_with(0, plain)
            count += 1
    return count


def _completed(node: oir.Node) -> oir.Node | None:
    """The reduction that ``_complete`` wrapped."""
    if node.op_type != "Where":
        return None
    any_nan, nan, signed = inputs(node)
    number = scalar(nan)
    choice = made_by(signed, "Where")
    if number is None or not np.isnan(number) or choice is None:
        return None
    unlike, found, _ = inputs(choice)
    negation, reduction = made_by(unlike, "Equal"), made_by(found, *POSITIVE)
    compared = made_by(inputs(negation)[0], "Equal") if negation is not None else None
    if reduction is None or compared is None or inputs(compared)[0] is not found or scalar(inputs(compared)[1]) != 0:
        return None
    mark = made_by(any_nan, "Cast")
    marked = made_by(inputs(mark)[0], "ReduceMax") if mark is not None else None
    small = made_by(inputs(marked)[0], "Cast") if marked is not None else None
    is_nan = made_by(inputs(small)[0], "IsNaN") if small is not None else None
    return reduction if is_nan is not None and inputs(is_nan)[0] is inputs(reduction)[0] else None


def _complete(root: oir.Graph, node: oir.Node) -> None:
    graph = node.graph
    assert isinstance(graph, oir.Graph)
    old = node.outputs[0]
    x, *axes = inputs(node)
    keepdims = {"keepdims": attribute(node, "keepdims", 1)}
    dtype = x.dtype
    assert dtype is not None
    boolean, small = oir.DataType.BOOL, oir.DataType.UINT8

    def make(op_type: str, *operands: oir.Value, kind: oir.DataType = dtype, like: oir.Value = old) -> oir.Value:
        return new_value(graph, node, op_type, operands, sizes(like), dtype=kind)

    def cast(value: oir.Value, kind: oir.DataType) -> oir.Value:
        return new_value(graph, node, "Cast", [value], sizes(value), {"to": kind.value}, dtype=kind)

    def reduced(op_type: str, value: oir.Value) -> oir.Value:
        return new_value(graph, node, op_type, [value, *axes], sizes(old), keepdims, dtype=value.dtype)

    def number(value: float) -> oir.Value:
        return constant_like(root, np.asarray(value, dtype.numpy()))

    found = reduced(node.op_type, x)
    outer = reduced(node.op_type, make("Reciprocal", x, like=x))
    zero = make("Where", make(POSITIVE[node.op_type], outer, number(0.0), kind=boolean), number(0.0), number(-0.0))
    # ONNX Runtime's Where returns 0 for a -0 in its second input; for a Not, it would exchange the inputs.
    false = constant_like(root, np.asarray(False))
    unlike = make("Equal", make("Equal", found, number(0.0), kind=boolean), false, kind=boolean)
    signed = make("Where", unlike, found, zero)
    any_nan = cast(reduced("ReduceMax", cast(make("IsNaN", x, kind=boolean, like=x), small)), boolean)
    replace(graph, old, make("Where", any_nan, number(np.nan), signed))
