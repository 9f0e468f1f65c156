"""Fuses RMSNormalization from a mean of squares, a square root and products."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import either, followed, made_by, new_value, replace, sizes
from swift_export.converter.passes.nested import root
from swift_export.converter.passes.norms import mean_square, ones, quotients

__all__ = ["fuse_rms_normalization"]

RMS_NORMALIZATION_SINCE = 23


def fuse_rms_normalization(graph: oir.Graph) -> int:
    """``x * rsqrt(mean(x²) + epsilon) [* scale]`` over trailing axes, from opset 23 on.

    The scale may multiply x or the root. Not for doubles: the op computes its mean in float32.
    """
    if root(graph).opset_imports[""] < RMS_NORMALIZATION_SINCE:
        return 0
    count = 0
    for node in list(graph):
        found = _normalised(node) if node.graph is not None else None
        if found is None:
            continue
        x, axis, epsilon, scale = found
        last = node
        if scale is None:
            last, scale = followed(node, "Mul", sizes(x)[axis:])
        scale = scale or ones(graph, x, axis)
        if scale is None:
            continue
        attributes = {"axis": axis - len(sizes(x)), "epsilon": epsilon}
        fused = new_value(graph, last, "RMSNormalization", [x, scale], sizes(x), attributes)
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _normalised(node: oir.Node) -> tuple[oir.Value, int, float, oir.Value | None] | None:
    """(x, first normalised axis, epsilon, scale if it is in the root) if the node's result is x normalised."""
    if node.op_type not in ("Mul", "Div") or node.outputs[0].dtype == oir.DataType.DOUBLE:
        return None
    for x, square in quotients(node):
        found = mean_square(square, x)
        if found is not None and sizes(x) == sizes(node.outputs[0]):
            return x, *found, None
    for x, scaled in either(node) if node.op_type == "Mul" else []:
        product = made_by(scaled, "Mul")
        for scale, square in quotients(product) if product is not None else []:
            found = mean_square(square, x)
            if found is not None and sizes(scale) == sizes(x)[found[0] :]:
                return x, *found, scale
    return None
