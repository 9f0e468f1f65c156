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
    replace,
    scalar,
    sizes,
)

__all__ = ["keep_reduced_axes", "reduce_means"]

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
#: Ops on the elements of one or two reduced values, or of one and a number.
POINTWISE = ("Abs", "Add", "Div", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Reciprocal", "Sqrt", "Sub")


def keep_reduced_axes(graph: oir.Graph) -> int:
    """``Unsqueeze(f(Reduce(x, axes, keepdims=0), ...), axes)`` -> ``f(Reduce(x, axes, keepdims=1), ...)``, where f is
    nothing or pointwise.
    """
    count = 0
    for node in list(graph):
        axes = integers(node.inputs[1]) if node.op_type == "Unsqueeze" and node.graph is not None else None
        tree = _reduced(inputs(node)[0], axes) if axes is not None else None
        restored = _restored(tree, axes) if tree is not None and axes is not None else None
        if not tree or not restored:
            continue
        kept: dict[oir.Value, oir.Value] = {}
        for inner in tree:
            shape = sizes(inner.outputs[0])
            for axis in axes or ():
                shape.insert(axis, 1)
            attributes = {"keepdims": 1} if inner.op_type in REDUCTIONS else dict(inner.attributes)
            operands = [kept.get(v, v) for v in inputs(inner)]
            kept[inner.outputs[0]] = new_value(graph, inner, inner.op_type, operands, shape, attributes)
        for unsqueeze in restored:
            replace(graph, unsqueeze.outputs[0], kept[inputs(unsqueeze)[0]])
        count += 1
    return count


def _reduced(value: oir.Value, axes: list[int]) -> list[oir.Node] | None:
    """The nodes that make a value from reductions over ``axes``, in order; None if other nodes take part."""
    found: dict[oir.Node, None] = {}

    def collect(value: oir.Value) -> bool:
        node = made_by(value, *REDUCTIONS, *POINTWISE)
        if node is None or node.graph is not value.graph:
            return False
        if node in found:
            return True
        if node.op_type in REDUCTIONS:
            whole = attribute(node, "keepdims", 1) == 0 and axes_of(node) == axes
        else:
            whole = all(scalar(v) is not None or collect(v) for v in inputs(node))
        if whole:
            found[node] = None
        return whole

    return list(found) if collect(value) else None


def _restored(tree: list[oir.Node], axes: list[int]) -> list[oir.Node] | None:
    """The nodes that put ``axes`` back into values of the tree; None if its values have other uses."""
    restored: dict[oir.Node, None] = {}
    for value in (output for node in tree for output in node.outputs):
        for user in value.consumers():
            if user.graph is value.graph and user.op_type == "Unsqueeze" and integers(user.inputs[1]) == axes:
                restored[user] = None
            elif user not in tree:
                return None
        if value.is_graph_output():
            return None
    return list(restored)


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
