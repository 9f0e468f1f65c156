"""Fuses RMSNormalization from a mean of squares, a square root and products, or writes these as runtimes fuse them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import constant_like, inputs, made_by, new_value, replace, sizes
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
    """``x * rsqrt(mean(x²) + epsilon) [* scale]`` over trailing axes -> RMSNormalization, from opset 23 on.

    The scale may multiply x or the root. Before opset 23, with a scale of the last axis, the nodes become those that
    ONNX Runtime and OpenVINO fuse when they load the file. Not for doubles: the op computes its mean in float32.
    """
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
        if root(graph).opset_imports[""] >= RMS_NORMALIZATION_SINCE:
            scale = scale or ones(graph, x, axis)
            if scale is None:
                continue
            attributes = {"axis": axis - len(sizes(x)), "epsilon": epsilon}
            fused = new_value(graph, last, "RMSNormalization", [x, scale], sizes(x), attributes)
        elif scale is not None and len(shape) == 1 and x.dtype == oir.DataType.FLOAT and not _is_plain(node, last):
            fused = _plain(graph, last, x, epsilon, scale)
        else:
            continue
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _is_plain(node: oir.Node, last: oir.Node) -> bool:
    """Whether the quotient and its scale are in the form that `_plain` writes."""
    square = node
    for op_type in ("Sqrt", "Add", "ReduceMean", "Pow"):
        found = [n for v in inputs(square) if (n := made_by(v, op_type)) is not None]
        if not found:
            return False
        square = found[0]
    return node.op_type == "Div" and last.op_type == "Mul"


def _plain(graph: oir.Graph, last: oir.Node, x: oir.Value, epsilon: float, scale: oir.Value) -> oir.Value:
    """``x / sqrt(mean(x ** 2) + epsilon) * scale``."""
    assert x.dtype is not None
    kind, shape = x.dtype.numpy(), sizes(x)
    two, small = (constant_like(graph, np.asarray(number, kind)) for number in (2, epsilon))
    square = new_value(graph, last, "Pow", [x, two], shape)
    kept = [*shape[:-1], 1]
    axes = constant_like(graph, np.asarray([len(shape) - 1], np.int64))
    mean = new_value(graph, last, "ReduceMean", [square, axes], kept, {"keepdims": 1})
    deviation = new_value(graph, last, "Sqrt", [new_value(graph, last, "Add", [mean, small], kept)], kept)
    return new_value(graph, last, "Mul", [new_value(graph, last, "Div", [x, deviation], shape), scale], shape)


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
