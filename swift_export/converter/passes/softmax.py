"""Fuses Softmax from a maximum, exponentials and their sum."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import attribute, axes_of, inputs, made_by, new_value, replace, sizes

__all__ = ["fuse_softmax"]


def fuse_softmax(graph: oir.Graph) -> int:
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` along one axis -> ``Softmax(x)``."""
    count = 0
    for node in list(graph):
        if node.op_type != "Div":
            continue
        exponentials, total = inputs(node)
        exp, summed = made_by(exponentials, "Exp"), made_by(total, "ReduceSum")
        difference = made_by(exp.inputs[0], "Sub") if exp is not None else None
        if summed is None or difference is None or summed.inputs[0] is not exponentials:
            continue
        x, largest = inputs(difference)
        maximum = made_by(largest, "ReduceMax")
        if maximum is None or maximum.inputs[0] is not x:
            continue
        axes = axes_of(summed)
        kept = attribute(summed, "keepdims", 1) == attribute(maximum, "keepdims", 1) == 1
        if axes is None or len(axes) != 1 or axes_of(maximum) != axes or not kept:
            continue
        axis = axes[0] - len(sizes(x))
        replace(graph, node.outputs[0], new_value(graph, node, "Softmax", [x], sizes(x), {"axis": axis}))
        count += 1
    return count
