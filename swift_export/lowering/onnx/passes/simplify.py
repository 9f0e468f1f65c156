"""Operands that change nothing."""

from __future__ import annotations

import math

import onnx_ir as oir

from swift_export.lowering.onnx.passes.match import can_replace, either, inputs, replace, scalar, sizes

__all__ = ["drop_neutral_elements"]

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
