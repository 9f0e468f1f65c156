"""What is known of all elements of a value by the ops that make it."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.gates import logistic_argument
from swift_export.converter.passes.match import FLOATS, array, either, inputs, made_by

__all__ = ["has_no_nan", "least_number"]

#: Numbers below which these functions have no value; NaN stays NaN.
LEAST = {"Abs": 0, "Erf": -1, "Exp": 0, "Gelu": -1, "Relu": 0, "Sigmoid": 0, "Softmax": 0, "Tanh": -1}
#: Functions of ``LEAST`` that never give a -0.
WITHOUT_NEGATIVE_ZEROS = frozenset({"Abs", "Exp", "Sigmoid", "Softmax"})
#: Ops that give nothing but elements of their operand.
MOVES = ("Expand", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def least_number(value: oir.Value | None) -> tuple[float | None, bool]:
    """A number that no element is below but NaN, if one is known; whether it is also known that no zero is a -0."""
    node = made_by(value, "Cast", "Max", "Mul", "Clip", *MOVES, *LEAST)
    if node is None:
        return None, False
    if node.op_type == "Cast":
        return None, node.inputs[0] is not None and node.inputs[0].dtype not in FLOATS
    if node.op_type == "Mul":
        if node.inputs[0] is node.inputs[1]:
            return 0, True
        return (-1, False) if any(_is_sigmoid(b, a) for a, b in either(node)) else (None, False)
    if node.op_type in MOVES:
        return least_number(node.inputs[0])
    if node.op_type in LEAST:
        return LEAST[node.op_type], node.op_type in WITHOUT_NEGATIVE_ZEROS
    bound = array(node.inputs[1]) if len(node.inputs) > 1 else None
    if bound is None or bound.size == 0 or not np.isfinite(bound).all():
        return None, False
    # Of two equal numbers, ONNX Runtime's Max returns a constant second operand.
    return float(bound.min()), node.op_type == "Max" and len(node.inputs) == 2 and not np.signbit(bound).any()


def has_no_nan(value: oir.Value | None) -> bool:
    """Whether no element is NaN: converted integers and truth values, choices of constants."""
    elements = array(value)
    if elements is not None:
        return not np.isnan(elements).any()
    node = made_by(value, "Cast", "Where", *MOVES)
    if node is None:
        return False
    operands = inputs(node)
    if node.op_type == "Cast":
        return operands[0].dtype not in FLOATS or has_no_nan(operands[0])
    if node.op_type == "Where":
        return all(map(has_no_nan, operands[1:]))
    return has_no_nan(operands[0])


def _is_sigmoid(value: oir.Value, of: oir.Value) -> bool:
    """Whether a value is ``sigmoid(of)``; ``x * sigmoid(x)`` is never below -0.28."""
    node = made_by(value, "Sigmoid")
    return (logistic_argument(value) if node is None else node.inputs[0]) is of
