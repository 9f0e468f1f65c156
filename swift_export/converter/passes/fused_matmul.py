"""Fuses ONNX Runtime's FusedMatMul, a product that reads transposed operands in place."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.match import (
    inputs,
    is_swapped,
    made_by,
    new_value,
    permutation,
    replace,
    sizes,
    swapped,
)

__all__ = ["absorb_transposes"]


def absorb_transposes(graph: oir.Graph) -> int:
    """``xᵀ · W`` for a stack of matrices x -> FusedMatMul, which reads x, and a transposed W, in place."""
    count = 0
    for node in list(graph):
        if node.op_type != "MatMul" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        x, y = inputs(node)
        if not is_swapped(x):
            continue
        attributes = {"transA": 1}
        operands = [_source(x), y]
        turned = made_by(y, "Transpose")
        if turned is not None and permutation(turned) == swapped(len(sizes(y))):
            attributes["transB"] = 1
            operands[1] = _source(y)
        shape = sizes(node.outputs[0])
        replace(
            graph,
            node.outputs[0],
            new_value(graph, node, "FusedMatMul", operands, shape, attributes, domain=MICROSOFT),
        )
        count += 1
    return count


def _source(value: oir.Value) -> oir.Value:
    node = value.producer()
    assert node is not None
    return inputs(node)[0]
