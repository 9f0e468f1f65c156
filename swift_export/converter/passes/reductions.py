"""Rewrites reductions in ONNX's forms: reduced axes kept, sums over n as means."""

from __future__ import annotations

import math

import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    axes_of,
    inputs,
    integers,
    made_by,
    new_value,
    only_use,
    replace,
    scalar,
    sizes,
)

__all__ = ["keep_reduced_axes", "reduce_means"]

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")


def keep_reduced_axes(graph: oir.Graph) -> int:
    """``Unsqueeze(Reduce(x, axes, keepdims=0), axes)`` -> ``Reduce(x, axes, keepdims=1)``."""
    count = 0
    for node in list(graph):
        if node.op_type != "Unsqueeze":
            continue
        reduction = made_by(node.inputs[0], *REDUCTIONS)
        if reduction is None or attribute(reduction, "keepdims", 1) == 1 or only_use(reduction.outputs[0]) is None:
            continue
        axes = axes_of(reduction)
        if axes is None or axes != integers(node.inputs[1]):
            continue
        shape = sizes(node.outputs[0])
        operands = inputs(reduction)
        replace(graph, node.outputs[0], new_value(graph, node, reduction.op_type, operands, shape, {"keepdims": 1}))
        count += 1
    return count


def reduce_means(graph: oir.Graph) -> int:
    """``ReduceSum(x) / n``, n the number of summed elements -> ``ReduceMean(x)``; an Unsqueeze between moves behind."""
    count = 0
    for node in list(graph):
        if node.op_type != "Div":
            continue
        total, n = inputs(node)
        unsqueeze = made_by(total, "Unsqueeze")
        reduction = made_by(inputs(unsqueeze)[0] if unsqueeze is not None else total, "ReduceSum")
        axes = axes_of(reduction) if reduction is not None else None
        if reduction is None or axes is None or not _only_divided(reduction.outputs[0], scalar(n)):
            continue
        reduced = [sizes(inputs(reduction)[0])[a] for a in axes]
        known = [s for s in reduced if isinstance(s, int)]
        if len(known) != len(reduced) or scalar(n) != math.prod(known):
            continue
        keepdims = attribute(reduction, "keepdims", 1)
        shape = sizes(reduction.outputs[0])
        mean = new_value(graph, node, "ReduceMean", inputs(reduction), shape, {"keepdims": keepdims})
        if unsqueeze is not None:
            mean = new_value(graph, node, "Unsqueeze", [mean, inputs(unsqueeze)[1]], sizes(total))
        replace(graph, node.outputs[0], mean)
        count += 1
    return count


def _only_divided(total: oir.Value, n: float | None) -> bool:
    """Whether a sum is used only in quotients by n; with another use, it would be computed twice."""

    def divided(user: oir.Node, value: oir.Value) -> bool:
        if user.op_type == "Unsqueeze":
            return _only_divided(user.outputs[0], n)
        return user.op_type == "Div" and inputs(user)[0] is value and scalar(inputs(user)[1]) == n

    return not total.is_graph_output() and all(divided(user, total) for user in total.consumers())
