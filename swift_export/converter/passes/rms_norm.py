"""Fuses RMSNormalization from a mean of squares, a square root and products."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from swift_export.converter.passes.match import new_value, replace, sizes
from swift_export.converter.passes.nested import root
from swift_export.converter.passes.norms import (
    as_row,
    followed_by_row,
    is_row,
    mean_square,
    ones,
    plus_epsilon,
    quotients,
)

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
        found = next(_normalised(node), None) if node.graph is not None else None
        if found is None:
            continue
        x, axis, epsilon, scale = found
        last, shape = node, sizes(x)[axis:]
        if scale is None:
            last, scale = followed_by_row(graph, node, "Mul", shape)
        else:
            scale = as_row(graph, node, scale, shape)
            if scale is None:
                continue
        scale = scale or ones(graph, x, axis)
        if scale is None:
            continue
        attributes = {"axis": axis - len(sizes(x)), "epsilon": epsilon}
        fused = new_value(graph, last, "RMSNormalization", [x, scale], sizes(x), attributes)
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _normalised(node: oir.Node) -> Iterator[tuple[oir.Value, int, float, oir.Value | None]]:
    """(x, first normalised axis, epsilon, scale if it is in the root) for readings of the result as x normalised."""
    if node.domain or node.outputs[0].dtype == oir.DataType.DOUBLE:
        return
    for x, square, scale in quotients(node):
        for mean, epsilon in plus_epsilon(square):
            axis = mean_square(mean, x)
            if axis is None or sizes(x) != sizes(node.outputs[0]):
                continue
            if scale is None or is_row(scale, sizes(x)[axis:]):
                yield x, axis, epsilon, scale
