"""Indices of maxima and minima that take NaN as the extreme, as JAX does.

ONNX leaves NaN open, and ONNX Runtime skips it unless it comes first. During the passes, a float ArgMax or ArgMin gives
the index of the first NaN, if there is one.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.branches import Branch, fast_or_exact
from swift_export.converter.passes.match import FLOATS, attribute, constant_like, inputs, new_value, replace, sizes
from swift_export.converter.passes.nested import all_nodes, bodies
from swift_export.converter.passes.ranges import has_no_nan

__all__ = ["complete_arguments", "plain_arguments"]

DataType = oir.DataType

#: The number that is the extreme of no others.
LAST = {"ArgMax": -math.inf, "ArgMin": math.inf}


def complete_arguments(graph: oir.Graph) -> int:
    """``ArgMax(x)``, ``ArgMin(x)`` of floats -> the index of the first NaN, if the sum of all elements is NaN, which
    tells whether there may be any.
    """
    count = 0
    for node in [node for node in all_nodes(graph) if node.op_type in LAST and not node.domain]:
        x = inputs(node)[0]
        if x.dtype not in FLOATS or has_no_nan(x):
            continue
        body = node.graph
        assert isinstance(body, oir.Graph)
        total = new_value(body, node, "ReduceSum", [x], [], {"keepdims": 0})
        highest = constant_like(graph, np.asarray(math.inf, x.dtype.numpy()))
        number = new_value(body, node, "LessOrEqual", [total, highest], [], dtype=DataType.BOOL)
        fast, exact = Branch(node, "fast"), Branch(node, "exact")
        found = fast_or_exact(number, fast.returning(fast.again(x)), exact.returning(_exact(exact, x)), node)
        replace(body, node.outputs[0], found)
        count += 1
    return count


def plain_arguments(graph: oir.Graph) -> int:
    """Undo the completion, so that passes can match the op."""
    count = 0
    for node in list(all_nodes(graph)):
        fast = list(bodies(node)[0]) if node.op_type == "If" else []
        if len(fast) == 1 and fast[0].op_type in LAST and inputs(fast[0])[0].dtype in FLOATS:
            body, (old,) = node.graph, node.outputs
            if not isinstance(body, oir.Graph) or not (old.uses() or old.is_graph_output()):
                continue
            attributes = dict(fast[0].attributes)
            again = new_value(body, node, fast[0].op_type, inputs(fast[0]), sizes(old), attributes, dtype=old.dtype)
            replace(body, old, again)
            count += 1
    return count


def _exact(branch: Branch, x: oir.Value) -> oir.Value:
    """The indices of the first NaN in rows with any, of the extreme number in others."""
    node, small = branch.node, DataType.UINT8
    assert x.dtype is not None
    is_nan = branch.truth("IsNaN", x)
    marks = branch.cast(is_nan, small)
    axis, keepdims = attribute(node, "axis", 0), attribute(node, "keepdims", 1)
    axes = constant_like(branch.body, np.asarray([axis], np.int64))
    any_nan = branch.cast(
        branch.make("ReduceMax", [marks, axes], small, branch.shape, keepdims=keepdims), DataType.BOOL
    )
    first = branch.make("ArgMax", [marks], DataType.INT64, branch.shape, axis=axis, keepdims=keepdims)
    numbers = branch.make("Where", [is_nan, branch.number(LAST[node.op_type], x.dtype), x], x.dtype, sizes(x))
    return branch.where(branch.cast(any_nan, DataType.BOOL), first, branch.again(numbers))
