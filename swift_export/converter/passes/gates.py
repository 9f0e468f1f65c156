"""Fuses Sigmoid where it scales another value: a gate, as in SiLU, GLU and the cells of recurrent networks."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.match import either, inputs, made_by, new_value, replace, scalar, sizes
from swift_export.converter.passes.templates import match

__all__ = ["fuse_gates", "fuse_quick_gelu", "logistic_argument"]

_DENOMINATOR = ("Add", ("Exp", ("Neg", "x")), 1.0)
#: How JAX and the rules write it.
LOGISTICS = (("Div", 1.0, _DENOMINATOR), ("Reciprocal", _DENOMINATOR))
QUOTIENT = ("Div", "a", _DENOMINATOR)

FLOATS = (oir.DataType.FLOAT, oir.DataType.FLOAT16)
#: What may be between a gate and its product.
MOVES = frozenset({"Expand", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})


def fuse_gates(graph: oir.Graph) -> int:
    """``a * (1 / (1 + exp(-x)))``, ``a / (1 + exp(-x))`` -> ``a * Sigmoid(x)``; ``1 - Sigmoid(x)`` is a gate as well.
    Not for doubles, of which all digits stay.

    ONNX Runtime's Sigmoid has an error of 2e-7, and so no right digit below -16. In a product with a value that is no
    constant, that is as much as two roundings of the value. Logarithms, thresholds and outputs of the file may need the
    digits: these keep the quotient.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in ("Div", "Reciprocal") or node.outputs[0].dtype not in FLOATS:
            continue
        output, shape = node.outputs[0], sizes(node.outputs[0])
        x = logistic_argument(output)
        quotient = match(output, QUOTIENT) if x is None else None
        if x is not None and _is_gate(output):
            replace(graph, output, new_value(graph, node, "Sigmoid", [x], shape))
            count += 1
        elif quotient is not None and _is_scaled(quotient["a"]):
            x = quotient["x"]
            gate = new_value(graph, node, "Sigmoid", [x], sizes(x))
            replace(graph, output, new_value(graph, node, "Mul", [quotient["a"], gate], shape))
            count += 1
    return count


def fuse_quick_gelu(graph: oir.Graph) -> int:
    """``x * Sigmoid(x)``, ``x * Sigmoid(x * alpha)`` -> ONNX Runtime's QuickGelu."""
    count = 0
    for node in list(graph):
        for x, gate in either(node) if node.op_type == "Mul" and not node.domain else []:
            sigmoid = made_by(gate, "Sigmoid")
            alpha = _factor(inputs(sigmoid)[0], x) if sigmoid is not None else None
            if alpha is not None and x.dtype == oir.DataType.FLOAT:
                fused = new_value(graph, node, "QuickGelu", [x], sizes(x), {"alpha": alpha}, domain=MICROSOFT)
                replace(graph, node.outputs[0], fused)
                count += 1
                break
    return count


def _factor(value: oir.Value, x: oir.Value) -> float | None:
    """The number by which a value is x multiplied."""
    scaled = match(value, ("Mul", "x", "alpha"), {"x": x})
    return 1.0 if value is x else scalar(scaled["alpha"]) if scaled is not None else None


def logistic_argument(value: oir.Value) -> oir.Value | None:
    """x of ``1 / (1 + exp(-x))``."""
    return next((found["x"] for template in LOGISTICS if (found := match(value, template)) is not None), None)


def _is_gate(value: oir.Value) -> bool:
    uses = list(value.uses())
    return bool(uses) and not value.is_graph_output() and all(_scales(use.node, value) for use in uses)


def _scales(user: oir.Node, value: oir.Value) -> bool:
    """Whether a value's user multiplies it with another one, also after taking it from 1 or moving its elements."""
    if user.domain:
        return False
    if user.op_type in MOVES or (user.op_type == "Sub" and scalar(inputs(user)[0]) == 1):
        return all(_is_gate(output) for output in user.outputs if output.uses() or output.is_graph_output())
    return user.op_type == "Mul" and all(_is_scaled(b) for a, b in either(user) if a is value)


def _is_scaled(value: oir.Value) -> bool:
    """Whether a gate may multiply a value: no constant, and no gate itself, which a probability is."""
    return value.const_value is None and made_by(value, "Sigmoid") is None and logistic_argument(value) is None
