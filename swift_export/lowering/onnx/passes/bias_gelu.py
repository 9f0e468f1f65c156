"""ONNX Runtime's BiasGelu out of a Gelu behind a product with a bias."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.lowering.onnx.passes.gemm import bias_of, without_bias
from swift_export.lowering.onnx.passes.match import inputs, made_by, new_value, only_use, replace, sizes
from swift_export.lowering.opsets import MICROSOFT

__all__ = ["fuse_bias_gelu"]


def fuse_bias_gelu(graph: oir.Graph) -> int:
    """``Gelu(x @ W + b)`` -> ``BiasGelu(x @ W, b)``: ONNX Runtime's Gemm adds a bias by writing its result twice."""
    count = 0
    for node in list(graph):
        if node.op_type != "Gelu" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        approximate = node.attributes.get("approximate")
        product = made_by(inputs(node)[0], "Gemm")
        if product is None or (approximate is not None and approximate.as_string() != "none"):
            continue
        bias = bias_of(product)
        if bias is None or only_use(product.outputs[0]) is None:
            continue
        operands = [without_bias(graph, product), bias]
        fused = new_value(graph, node, "BiasGelu", operands, sizes(node.outputs[0]), domain=MICROSOFT)
        replace(graph, node.outputs[0], fused)
        count += 1
    return count
