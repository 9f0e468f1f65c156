"""Shared parts of normalisations: a quotient by a root, means over trailing axes, a scale."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    axes_of,
    constant_like,
    either,
    inputs,
    made_by,
    scalar,
    sizes,
)

__all__ = ["mean_axis", "mean_square", "ones", "quotients"]


def quotients(node: oir.Node) -> list[tuple[oir.Value, oir.Value]]:
    """(a, b) for each reading of a node as ``a / sqrt(b)``."""
    if node.op_type == "Mul":
        candidates = [(a, made_by(b, "Reciprocal")) for a, b in either(node)]
        pairs = [(a, made_by(r.inputs[0], "Sqrt")) for a, r in candidates if r is not None]
    elif node.op_type == "Div":
        a, b = inputs(node)
        pairs = [(a, made_by(b, "Sqrt"))]
    else:
        return []
    return [(a, inputs(root)[0]) for a, root in pairs if root is not None]


def mean_square(value: oir.Value, of: oir.Value) -> tuple[int, float] | None:
    """(first axis, epsilon) if a value is ``mean(of²) + epsilon`` over trailing axes."""
    add = made_by(value, "Add")
    for mean, constant in either(add) if add is not None else []:
        average, epsilon = made_by(mean, "ReduceMean"), scalar(constant)
        square = inputs(average)[0] if average is not None else None
        if square is None or epsilon is None or not _is_square(square, of):
            continue
        axis = mean_axis(average, square)
        if axis is not None:
            return axis, epsilon
    return None


def _is_square(value: oir.Value, of: oir.Value) -> bool:
    node = made_by(value, "Mul", "Pow")
    if node is None:
        return False
    a, b = inputs(node)
    return a is of and (b is of if node.op_type == "Mul" else scalar(b) == 2)


def mean_axis(node: oir.Node | None, of: oir.Value) -> int | None:
    """The first axis of a mean of ``of`` over trailing axes, kept with size 1."""
    if node is None or node.inputs[0] is not of or attribute(node, "keepdims", 1) != 1:
        return None
    axes, rank = axes_of(node), len(sizes(of))
    return axes[0] if axes and axes == list(range(axes[0], rank)) else None


def ones(graph: oir.Graph, x: oir.Value, axis: int) -> oir.Value | None:
    """A scale of ones, if the sizes are known."""
    shape = [s for s in sizes(x)[axis:] if isinstance(s, int)]
    if len(shape) != len(sizes(x)) - axis or x.dtype is None:
        return None
    return constant_like(graph, np.ones(shape, x.dtype.numpy()))
