"""Maxima and minima that preserve NaN and the signs of zeros.

ONNX leaves both open, and ONNX Runtime loses them: a reduction returns NaN only if it comes first, and either of two
zeros. During the passes, a float ReduceMax or ReduceMin has StableHLO's meaning; in the finished graph, nodes around it
ensure that meaning where a result could tell.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.branches import Branch, fast_or_exact
from swift_export.converter.passes.match import (
    FLOATS,
    attribute,
    axes_of,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import all_nodes, bodies
from swift_export.converter.passes.ranges import has_no_nan, least_number
from swift_export.converter.passes.shifts import only_shifts
from swift_export.converter.passes.zeros import unsigned_zeros

__all__ = ["complete_extremes", "plain_extremes"]

#: The comparison of the reciprocals' extreme with 0 that holds if the extreme is +0; reciprocals of zeros are infinite.
POSITIVE = {"ReduceMax": "Greater", "ReduceMin": "GreaterOrEqual"}


def complete_extremes(graph: oir.Graph) -> int:
    """``ReduceMax(x)``, ``ReduceMin(x)`` of floats -> NaN if one is NaN, and +0 above -0, where it may matter."""
    count = 0
    for body in {node.graph: None for node in all_nodes(graph) if node.op_type in POSITIVE}:
        assert isinstance(body, oir.Graph)
        unsigned = unsigned_zeros(body)
        for node in [node for node in body if node.op_type in POSITIVE and not node.domain]:
            x, output = inputs(node)[0], node.outputs[0]
            if x.dtype not in FLOATS or only_shifts(node):
                continue
            signs = output not in unsigned and not least_number(x)[1]
            if signs or not has_no_nan(x):
                count += 1
                replace(body, output, _with_a_test(body, node) if signs else _with_a_sum(body, node))
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


def _with_a_sum(graph: oir.Graph, node: oir.Node) -> oir.Value:
    """The smaller of the extreme and of the sum of magnitudes, which is NaN if an element is, and never below."""
    (x, *axes), shape = inputs(node), sizes(node.outputs[0])
    reduced = axes_of(node)
    if reduced is None or any(not isinstance(sizes(x)[axis], int) for axis in reduced):
        # There may be no elements, of which the smallest is infinite.
        return _with_a_test(graph, node, signs=False)
    keepdims = {"keepdims": attribute(node, "keepdims", 1)}
    least, _ = least_number(x)
    magnitudes = x if least is not None and least >= 0 else new_value(graph, node, "Abs", [x], sizes(x))
    total = new_value(graph, node, "ReduceSum", [magnitudes, *axes], shape, keepdims)
    found = new_value(graph, node, node.op_type, [x, *axes], shape, keepdims)
    return new_value(graph, node, "Min", [found, total], shape)


def _with_a_test(graph: oir.Graph, node: oir.Node, *, signs: bool = True) -> oir.Value:
    """The extreme as it is where the sum of all reciprocals is above -infinity, so that none is NaN or that of a -0."""
    x = inputs(node)[0]
    assert x.dtype is not None
    tested = new_value(graph, node, "Reciprocal", [x], sizes(x)) if signs else x
    total = new_value(graph, node, "ReduceSum", [tested], [], {"keepdims": 0})
    lowest = constant_like(graph, np.asarray(-math.inf, x.dtype.numpy()))
    plain = new_value(graph, node, "Greater", [total, lowest], [], dtype=oir.DataType.BOOL)
    fast, exact = Branch(node, "fast"), Branch(node, "exact")
    return fast_or_exact(plain, fast.returning(fast.again(x)), exact.returning(_exact(exact, x)), node)


def _exact(branch: Branch, x: oir.Value) -> oir.Value:
    """The extremes of elements that may be anything."""
    (_, *axes), dtype = inputs(branch.node), x.dtype
    assert dtype is not None
    small, keepdims = oir.DataType.UINT8, attribute(branch.node, "keepdims", 1)
    outer = branch.again(branch.make("Reciprocal", [x], dtype, sizes(x)))
    positive = branch.truth(POSITIVE[branch.node.op_type], outer, branch.number(0.0, dtype))
    signed = branch.with_signs(branch.again(x), positive)
    marks = branch.cast(branch.truth("IsNaN", x), small)
    any_nan = branch.make("ReduceMax", [marks, *axes], small, branch.shape, keepdims=keepdims)
    return branch.where(branch.cast(any_nan, oir.DataType.BOOL), branch.number(math.nan, dtype), signed)


def _completed(node: oir.Node) -> oir.Node | None:
    """The reduction that `complete_extremes` wrapped."""
    if node.op_type == "If":
        fast, exact = (list(body) for body in bodies(node))
        alone = len(fast) == 1 and exact and exact[-1].op_type == "Where"
        return fast[0] if alone and fast[0].op_type in POSITIVE and inputs(fast[0])[0].dtype in FLOATS else None
    if node.op_type != "Min" or len(inputs(node)) != 2:
        return None
    for found, total in either(node):
        extreme, added = made_by(found, *POSITIVE), made_by(total, "ReduceSum")
        if extreme is None or added is None or axes_of(extreme) is None or axes_of(extreme) != axes_of(added):
            continue
        x, magnitudes = inputs(extreme)[0], inputs(added)[0]
        absolute = made_by(magnitudes, "Abs")
        least, _ = least_number(magnitudes)
        positive = magnitudes is x and least is not None and least >= 0
        if x.dtype in FLOATS and (positive or (absolute is not None and inputs(absolute)[0] is x)):
            return extreme
    return None
