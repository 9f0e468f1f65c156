"""Scales queries and keys of attention after they are moved, next to the product."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import either, inputs, made_by, new_value, only_use, replace, scalar, sizes
from swift_export.converter.passes.moves import MOVES

__all__ = ["sink_scales"]


def sink_scales(graph: oir.Graph) -> int:
    """``move(c * x)`` -> ``c * move(x)`` for a number c, where moves lead to one product alone.

    Attention takes over the factor there. That of queries may stay in front of moves, but for changes of the axes in
    front of the matrices, which attention makes by itself.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in MOVES or node.domain or not _leads_to_product(node.outputs[0]):
            continue
        scaled, *target = inputs(node)
        scaling = made_by(scaled, "Mul")
        if scaling is None or only_use(scaled) is None:
            continue
        for x, factor in either(scaling):
            if scalar(factor) is not None and sizes(x) == sizes(scaled):
                result = node.outputs[0]
                moved = new_value(graph, node, node.op_type, [x, *target], sizes(result), dict(node.attributes))
                replace(graph, result, new_value(graph, node, "Mul", [moved, factor], sizes(result)))
                count += 1
                break
    return count


def _leads_to_product(value: oir.Value) -> bool:
    user, regrouped = only_use(value), _regroups(value)
    while user is not None and user.op_type in MOVES and not user.domain:
        value = user.outputs[0]
        user, regrouped = only_use(value), regrouped and _regroups(value)
    product = user is not None and user.op_type == "MatMul" and not user.domain
    return product and user is not None and (user.inputs[1] is value or regrouped)


def _regroups(value: oir.Value) -> bool:
    move = made_by(value, "Reshape", "Squeeze", "Unsqueeze")
    return move is not None and sizes(inputs(move)[0])[-2:] == sizes(value)[-2:]
