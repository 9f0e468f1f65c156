"""Keeps ONNX Runtime from computing float64 with numbers of float32.

When it optimises, it moves scalar factors into its product of matrices, whose attribute ``alpha`` is a float32, and a
mean of squares into a normalization, whose ``epsilon`` is one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import constant_like, inputs, new_value, replace, scalar, sizes

__all__ = ["keep_doubles"]

PRODUCTS = ("MatMul", "FusedMatMul")
#: Between a factor and a product: ONNX Runtime moves these, or removes them where they change nothing.
THIN = frozenset(
    {"Add", "Cast", "Div", "Expand", "Identity", "Mul", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)


def keep_doubles(graph: oir.Graph) -> int:
    """A Reshape that changes nothing between float64 factors and products; ``x ** 2`` as ``x * x``."""
    count = 0
    for node in list(graph):
        if node.domain or node.outputs[0].dtype != oir.DataType.DOUBLE:
            continue
        if node.op_type == "Pow" and scalar(inputs(node)[1]) == 2:
            x = inputs(node)[0]
            replace(graph, node.outputs[0], new_value(graph, node, "Mul", [x, x], sizes(node.outputs[0])))
            count += 1
        elif node.op_type in ("Div", "Mul"):
            count += _part_from_products(graph, node)
    return count


def _part_from_products(graph: oir.Graph, node: oir.Node) -> bool:
    a, b = inputs(node)
    scaled = [i for i, factor in enumerate((b, a)) if _is_number(factor) and (i == 0 or node.op_type == "Mul")]
    if not scaled:
        return False
    operands = [i for i in scaled if _follows_product(inputs(node)[i])]
    for i in operands:
        node.replace_input_with(i, _apart(graph, node, inputs(node)[i]))
    readers = [use for use in node.outputs[0].uses() if use.node.graph is graph and _leads_to_product(use.node)]
    if readers:
        # All nodes are put in order later.
        result = _apart(graph, readers[0].node, node.outputs[0])
        for reader, place in readers:
            reader.replace_input_with(place, result)
    return bool(operands or readers)


def _is_number(value: oir.Value) -> bool:
    """Whether a value has one element, as far as its shape tells; if it is not a constant, the runtime may fold it."""
    return value.shape is not None and all(size == 1 for size in sizes(value))


def _follows_product(value: oir.Value) -> bool:
    node = value.producer()
    while node is not None and not node.domain and node.op_type in THIN:
        operands = [v for v in inputs(node) if v.const_value is None]
        node = operands[0].producer() if operands else None
    return node is not None and node.op_type in PRODUCTS


def _leads_to_product(node: oir.Node) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        user = waiting.pop()
        if user.op_type in PRODUCTS:
            return True
        if user.op_type in THIN and not user.domain:
            further = {n for output in user.outputs for n in output.consumers()} - seen
            waiting += further
            seen |= further
    return False


def _apart(graph: oir.Graph, before: oir.Node, value: oir.Value) -> oir.Value:
    """The same value, by a Reshape that copies every size."""
    same = constant_like(graph, np.zeros(len(sizes(value)), np.int64))
    return new_value(graph, before, "Reshape", [value, same], sizes(value))
