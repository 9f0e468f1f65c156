"""Removes neutral operands and constant choices; turns quotients into products."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    can_replace,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    scalar,
    sizes,
)

__all__ = ["choose_branches", "drop_neutral_elements", "multiply_by_inverses"]

NEUTRAL = {"Div": 1.0, "Max": -math.inf, "Min": math.inf, "Mul": 1.0, "Sub": 0.0}
COMMUTATIVE = ("Max", "Min", "Mul")


def drop_neutral_elements(graph: oir.Graph) -> int:
    """``max(x, -inf)``, ``min(x, inf)``, ``x * 1``, ``x / 1``, ``x - 0`` -> ``x``: equal for every x, NaN and -0
    included. The same for ``max(x, 0)`` of a mean of squares.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in NEUTRAL or len(inputs(node)) != 2:
            continue
        for x, other in either(node) if node.op_type in COMMUTATIVE else either(node)[:1]:
            number = scalar(other)
            # -0 - (-0) is +0.
            neutral = number == NEUTRAL[node.op_type] and not (number == 0 and math.copysign(1, number) < 0)
            if (
                (neutral or (node.op_type == "Max" and scalar(other) == 0 and _is_mean_square(x)))
                and sizes(x) == sizes(node.outputs[0])
                and can_replace(node.outputs[0], x)
            ):
                replace(graph, node.outputs[0], x)
                count += 1
                break
    return count


def _is_mean_square(value: oir.Value) -> bool:
    mean = made_by(value, "ReduceMean")
    square = made_by(mean.inputs[0], "Mul") if mean is not None else None
    return square is not None and square.inputs[0] is square.inputs[1]


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


def multiply_by_inverses(graph: oir.Graph) -> int:
    """``x / c`` -> ``x * (1 / c)`` if c is a power of two: bit-identical, and the form that other passes match."""
    count = 0
    for node in list(graph):
        divisor = scalar(inputs(node)[1]) if node.op_type == "Div" else None
        # Well inside every type's range: near its ends, 1 / c is not exact.
        if divisor is None or not 2**-8 <= abs(divisor) <= 2**8 or abs(math.frexp(divisor)[0]) != 0.5:
            continue
        x, c = inputs(node)
        assert c.dtype is not None
        inverse = constant_like(graph, np.asarray(1 / divisor, c.dtype.numpy()))
        replace(graph, node.outputs[0], new_value(graph, node, "Mul", [x, inverse], sizes(node.outputs[0])))
        count += 1
    return count
