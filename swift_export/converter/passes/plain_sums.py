"""Writes sums in front of norms as ONNX Runtime leaves them."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import inputs, new_value, only_use, replace, sizes

__all__ = ["keep_sums_plain"]


def keep_sums_plain(graph: oir.Graph) -> int:
    """``LayerNormalization(Add(a, b))`` of three axes -> ``LayerNormalization(Sum(a, b))``.

    When ONNX Runtime loads the file, it would fuse the two into SkipLayerNormalization. On a CPU that takes five times
    as long as both, and loses the digits of the variance where the mean is large: it computes ``mean(x²) - mean²``.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "Add" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        a, b = inputs(node)
        norm = only_use(node.outputs[0])
        if norm is None or norm.op_type != "LayerNormalization" or norm.domain:
            continue
        if not len(sizes(a)) == len(sizes(b)) == 3:
            continue
        replace(graph, node.outputs[0], new_value(graph, node, "Sum", [a, b], sizes(node.outputs[0])))
        count += 1
    return count
