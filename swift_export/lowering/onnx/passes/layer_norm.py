"""LayerNormalization out of means, a square root and products."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.lowering.onnx.passes.match import (
    attribute,
    axes_of,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    only_use,
    replace,
    scalar,
    sizes,
)

__all__ = ["fuse_layer_normalization"]


def fuse_layer_normalization(graph: oir.Graph) -> int:
    """``(x - mean) * rsqrt(mean((x - mean)²) + epsilon) [* scale] [+ bias]`` over trailing axes."""
    count = 0
    for node in list(graph):
        if node.graph is None or node.op_type not in ("Mul", "Div"):
            continue
        found = _normalised(node)
        if found is None:
            continue
        x, axis, epsilon = found
        last, scale = _operand(node, "Mul", x, axis)
        last, bias = _operand(last, "Add", x, axis) if scale is not None else (last, None)
        if scale is None:
            dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
            shape = [s for s in sizes(x)[axis:] if isinstance(s, int)]
            if len(shape) != len(sizes(x)) - axis:
                continue
            scale = constant_like(graph, np.ones(shape, dtype))
        operands = [x, scale] if bias is None else [x, scale, bias]
        attributes = {"axis": axis - len(sizes(x)), "epsilon": epsilon}
        fused = new_value(graph, last, "LayerNormalization", operands, sizes(x), attributes)
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _normalised(node: oir.Node) -> tuple[oir.Value, int, float] | None:
    """(x, first normalised axis, epsilon) if the node's result is x normalised."""
    if node.op_type == "Mul":
        candidates = [(a, made_by(b, "Reciprocal")) for a, b in either(node)]
        pairs = [(a, made_by(r.inputs[0], "Sqrt")) for a, r in candidates if r is not None]
    else:
        a, b = inputs(node)
        pairs = [(a, made_by(b, "Sqrt"))]
    for centred, root in pairs:
        difference, add = made_by(centred, "Sub"), made_by(root.inputs[0], "Add") if root is not None else None
        if difference is None or add is None:
            continue
        x, mean = inputs(difference)
        axis = _mean_axis(made_by(mean, "ReduceMean"), x)
        for variance, constant in either(add):
            epsilon, average = scalar(constant), made_by(variance, "ReduceMean")
            square = made_by(average.inputs[0], "Mul") if average is not None else None
            if epsilon is None or axis is None or square is None:
                continue
            if inputs(square) == [centred, centred] and _mean_axis(average, square.outputs[0]) == axis:
                return x, axis, epsilon
    return None


def _mean_axis(node: oir.Node | None, of: oir.Value) -> int | None:
    """The first axis of a mean of ``of`` over trailing axes that are kept."""
    if node is None or node.inputs[0] is not of or attribute(node, "keepdims", 1) != 1:
        return None
    axes, rank = axes_of(node), len(sizes(of))
    return axes[0] if axes and axes == list(range(axes[0], rank)) else None


def _operand(node: oir.Node, op_type: str, x: oir.Value, axis: int) -> tuple[oir.Node, oir.Value | None]:
    """The op that follows and its other operand, if that has exactly the normalised axes' shape."""
    user = only_use(node.outputs[0])
    if user is not None and user.op_type == op_type:
        for a, b in either(user):
            if a is node.outputs[0] and sizes(b) == sizes(x)[axis:]:
                return user, b
    return node, None
