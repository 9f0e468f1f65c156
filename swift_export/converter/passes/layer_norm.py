"""Fuses LayerNormalization from means, a square root and products."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import followed, inputs, made_by, new_value, replace, sizes
from swift_export.converter.passes.norms import mean_axis, mean_square, ones, quotients

__all__ = ["fuse_layer_normalization"]


def fuse_layer_normalization(graph: oir.Graph) -> int:
    """``(x - mean) * rsqrt(mean((x - mean)²) + epsilon) [* scale] [+ bias]`` over trailing axes.

    Not for doubles: the op computes its means in float32.
    """
    count = 0
    for node in list(graph):
        found = _normalised(node) if node.graph is not None else None
        if found is None:
            continue
        x, axis, epsilon = found
        last, scale = followed(node, "Mul", sizes(x)[axis:])
        last, bias = followed(last, "Add", sizes(x)[axis:]) if scale is not None else (last, None)
        scale = scale or ones(graph, x, axis)
        if scale is None:
            continue
        operands = [x, scale] if bias is None else [x, scale, bias]
        attributes = {"axis": axis - len(sizes(x)), "epsilon": epsilon}
        fused = new_value(graph, last, "LayerNormalization", operands, sizes(x), attributes)
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _normalised(node: oir.Node) -> tuple[oir.Value, int, float] | None:
    """(x, first normalised axis, epsilon) if the node's result is x normalised."""
    for centred, variance in quotients(node):
        difference, found = made_by(centred, "Sub"), mean_square(variance, centred)
        if difference is None or found is None:
            continue
        x, mean = inputs(difference)
        axis, epsilon = found
        if x.dtype != oir.DataType.DOUBLE and mean_axis(made_by(mean, "ReduceMean"), x) == axis:
            return x, axis, epsilon
    return None
