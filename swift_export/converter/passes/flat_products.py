"""Products over the last axis without the reshapes that Gemm needs."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.gemm import adds_cheaply, bias_of, is_linear
from swift_export.converter.passes.match import constant_like, inputs, made_by, new_value, only_use, replace, sizes
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["flatten_products"]


def flatten_products(graph: oir.Graph) -> int:
    """``Gemm(Reshape(x))`` over x's last axis -> FusedMatMul, which takes any number of axes; the reshapes then cancel.

    A bias becomes a separate Add, unless Gemm adds it at less cost.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "Gemm" or not is_linear(node) or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        if adds_cheaply(node):
            continue
        x, weight = inputs(node)[:2]
        before, after, columns = made_by(x, "Reshape"), only_use(node.outputs[0]), sizes(node.outputs[0])[-1]
        target = reshape_target(sizes(node.outputs[0]))
        if before is None or target is None or node.outputs[0].is_graph_output():
            continue
        rows = sizes(inputs(before)[0])
        if after is not None and after.op_type == "Reshape" and sizes(after.outputs[0])[-1] == columns:
            rows = [*sizes(after.outputs[0])[:-1], sizes(x)[-1]]
        if rows[-1] != sizes(x)[-1]:
            continue
        if sizes(x) != rows:
            wanted = reshape_target(rows)
            if wanted is None:
                continue
            x = new_value(graph, node, "Reshape", [x, constant_like(graph, wanted)], rows)
        shape = [*rows[:-1], columns]
        result = new_value(graph, node, "FusedMatMul", [x, weight], shape, {"transB": 1}, domain=MICROSOFT)
        if (bias := bias_of(node)) is not None:
            result = new_value(graph, node, "Add", [result, bias], shape)
        flat = new_value(graph, node, "Reshape", [result, constant_like(graph, target)], sizes(node.outputs[0]))
        replace(graph, node.outputs[0], flat)
        count += 1
    return count
