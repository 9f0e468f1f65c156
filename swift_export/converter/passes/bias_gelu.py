"""Moves the bias between a product and a Gelu: into ONNX Runtime's BiasGelu, or to where runtimes fuse it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.gemm import bias_of, without_bias
from swift_export.converter.passes.match import inputs, made_by, new_value, only_use, replace, sizes

TYPES = (oir.DataType.FLOAT, oir.DataType.FLOAT16)

__all__ = ["fuse_bias_gelu", "part_bias_from_product"]


def fuse_bias_gelu(graph: oir.Graph) -> int:
    """``Gelu(x @ W + b)`` -> ``BiasGelu(x @ W, b)``: ONNX Runtime's Gemm adds a bias by writing its result twice."""
    count = 0
    for node, product, bias in _matches(graph):
        operands = [without_bias(graph, product), bias]
        fused = new_value(graph, node, "BiasGelu", operands, sizes(node.outputs[0]), domain=MICROSOFT)
        replace(graph, node.outputs[0], fused)
        count += 1
    return count


def part_bias_from_product(graph: oir.Graph) -> int:
    """``Gelu(Gemm(x, W, b))`` -> ``Gelu(Gemm(x, W) + b)``, which runtimes fuse into their own ops.

    ONNX Runtime fuses a BiasGelu when it loads the file; OpenVINO fuses all three into one op.
    """
    count = 0
    for node, product, bias in _matches(graph):
        plain = without_bias(graph, product)
        added = new_value(graph, node, "Add", [plain, bias], sizes(plain))
        attributes = dict(node.attributes)
        replace(graph, node.outputs[0], new_value(graph, node, "Gelu", [added], sizes(plain), attributes))
        count += 1
    return count


def _matches(graph: oir.Graph) -> Iterator[tuple[oir.Node, oir.Node, oir.Value]]:
    """Every exact Gelu of a Gemm that has no other use, with the Gemm and its bias."""
    for node in list(graph):
        if node.op_type != "Gelu" or node.domain or node.outputs[0].dtype not in TYPES:
            continue
        approximate = node.attributes.get("approximate")
        product = made_by(inputs(node)[0], "Gemm")
        if product is None or (approximate is not None and approximate.as_string() != "none"):
            continue
        bias = bias_of(product)
        if bias is not None and only_use(product.outputs[0]) is not None:
            yield node, product, bias
