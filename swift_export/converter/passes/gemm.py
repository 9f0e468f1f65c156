"""Fuses Gemm from a product with a transposed matrix and an optional bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.factors import as_factor
from swift_export.converter.passes.match import (
    constant_like,
    flattened,
    followed,
    inputs,
    is_swapped,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["adds_cheaply", "bias_of", "fuse_gemm", "is_linear", "without_bias"]

#: Fewest rows, and most columns of the operand, for which ONNX Runtime's Gemm adds a bias in less time than another op:
#: a pass over the result then takes half as long as the product itself.
MANY, SHALLOW = 4096, 128


def fuse_gemm(graph: oir.Graph) -> int:
    """``x @ Wᵀ [+ b]`` over the last axis of x -> Gemm on rows, with W as it is stored.

    A stack of transposed matrices keeps its MatMul: runtimes read it in place there, but would transpose it for Gemm.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "MatMul" or node.outputs[0].is_graph_output():
            continue
        x, matrix = inputs(node)
        transposed = made_by(matrix, "Transpose")
        if transposed is None or len(sizes(matrix)) != 2 or is_swapped(x):
            continue
        (weight,) = inputs(transposed)
        last, bias = followed(node, "Add", sizes(weight)[:1])
        rows = flattened(sizes(x)[:-1])
        target = reshape_target(sizes(node.outputs[0]))
        if rows is None or target is None or not all(isinstance(s, int) for s in sizes(weight)):
            continue
        if len(sizes(x)) != 2:
            flat = constant_like(graph, np.asarray([-1, sizes(weight)[1]], np.int64))
            x = new_value(graph, last, "Reshape", [x, flat], [rows, sizes(weight)[1]])
        operands = [x, weight] if bias is None else [x, weight, bias]
        result = new_value(graph, last, "Gemm", operands, [sizes(x)[0], sizes(weight)[0]], {"transB": 1})
        if len(target) != 2:
            result = new_value(graph, last, "Reshape", [result, constant_like(graph, target)], sizes(node.outputs[0]))
        replace(graph, last.outputs[0], result)
        count += 1
    return count


def is_linear(node: oir.Node) -> bool:
    """Whether a Gemm is ``x @ Wᵀ [+ b]`` with one number of b per column."""
    plain = set(node.attributes) == {"transB"} and node.attributes["transB"].as_int() == 1
    return plain and (len(inputs(node)) == 2 or sizes(inputs(node)[2]) == sizes(node.outputs[0])[-1:])


def bias_of(node: oir.Node) -> oir.Value | None:
    """The bias of a Gemm ``x @ Wᵀ + b``."""
    return inputs(node)[2] if is_linear(node) and len(inputs(node)) == 3 else None


def adds_cheaply(node: oir.Node) -> bool:
    """Whether a Gemm with a bias has many rows of few columns (`MANY`, `SHALLOW`), for a batch of any size."""
    (rows, _), depth = sizes(node.outputs[0]), sizes(inputs(node)[0])[-1]
    return bias_of(node) is not None and as_factor(rows).number >= MANY and isinstance(depth, int) and depth <= SHALLOW


def without_bias(graph: oir.Graph, node: oir.Node) -> oir.Value:
    """The product of a Gemm, without its bias."""
    return new_value(graph, node, "Gemm", inputs(node)[:2], sizes(node.outputs[0]), dict(node.attributes))
