"""Operands that change nothing, and choices that are made."""

from __future__ import annotations

import math

import onnx_ir as oir

from swift_export.lowering.onnx.passes.match import array, can_replace, either, inputs, replace, scalar, sizes

__all__ = ["choose_branches", "drop_neutral_elements"]

NEUTRAL = {"Max": -math.inf, "Min": math.inf, "Mul": 1.0}


def drop_neutral_elements(graph: oir.Graph) -> int:
    """``max(x, -inf)``, ``min(x, inf)``, ``x * 1`` -> ``x``: equal for every x, NaN and -0 included."""
    count = 0
    for node in list(graph):
        if node.op_type not in NEUTRAL or len(inputs(node)) != 2:
            continue
        for x, other in either(node):
            if (
                scalar(other) == NEUTRAL[node.op_type]
                and sizes(x) == sizes(node.outputs[0])
                and can_replace(node.outputs[0], x)
            ):
                replace(graph, node.outputs[0], x)
                count += 1
                break
    return count


def choose_branches(graph: oir.Graph) -> int:
    """``Where(condition, a, b)`` with a constant condition of one element -> a or b."""
    count = 0
    for node in list(graph):
        condition = array(node.inputs[0]) if node.op_type == "Where" else None
        if condition is None or condition.size != 1:
            continue
        chosen, output = inputs(node)[1 if condition.item() else 2], node.outputs[0]
        if sizes(chosen) == sizes(output) and can_replace(output, chosen):
            replace(graph, output, chosen)
            count += 1
    return count
