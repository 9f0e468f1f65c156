"""Fuses activations of several nodes into the one op that ONNX has for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    constant_like,
    either,
    inputs,
    is_named,
    made_by,
    new_value,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.templates import Template, match

__all__ = ["fuse_activations"]

DOUBLE, BFLOAT16 = oir.DataType.DOUBLE, oir.DataType.BFLOAT16


@dataclass(frozen=True)
class Activation:
    """An op of one operand, how JAX writes it, and its attributes that are numbers there."""

    op_type: str
    template: Template
    attributes: Mapping[str, str | float]


_POSITIVE: Template = ("Less", 0.0, "x")
_EXPONENTIAL: Template = ("Expm1", ("Where", _POSITIVE, 0.0, "x"))
_SOFTPLUS: Template = ("Add", ("Max", "x", 0.0), ("Log1p", ("Exp", ("Neg", ("Abs", "x")))))
#: From 0 to 6.
_SIXTHS: tuple[Template, ...] = tuple(
    ("Min", (relu, ("Add", "x", 3.0), *zero), 6.0) for relu, zero in (("Max", (0.0,)), ("Relu", ()))
)
ACTIVATIONS = (
    Activation("Softplus", ("Where", ("Not", ("Equal", "x", "x")), ("Add", "x", 0.0), _SOFTPLUS), {}),
    Activation("Mish", ("Mul", "x", ("Tanh", ("Softplus", "x"))), {}),
    Activation("Elu", ("Where", _POSITIVE, "x", _EXPONENTIAL), {"alpha": 1.0}),
    Activation("Elu", ("Where", _POSITIVE, "x", ("Mul", _EXPONENTIAL, "alpha")), {"alpha": "alpha"}),
    Activation("LeakyRelu", ("Where", ("LessOrEqual", 0.0, "x"), "x", ("Mul", "x", "alpha")), {"alpha": "alpha"}),
    *(Activation("HardSwish", ("Mul", "x", ("Div", sixths, 6.0)), {}) for sixths in _SIXTHS),
    *(Activation("HardSigmoid", ("Div", sixths, 6.0), {"alpha": 1 / 6, "beta": 0.5}) for sixths in _SIXTHS),
)
#: The op at the end of each pattern.
LAST = frozenset({"Div", "Mul", "Where"})
#: A number between two, by choices.
_BETWEEN: Template = ("Where", ("Less", "high", "x"), "high", ("Where", ("Less", "x", "low"), "low", "x"))


def fuse_activations(graph: oir.Graph) -> int:
    """``where(x >= 0, x, alpha * x)`` -> LeakyRelu; also Elu, HardSigmoid, HardSwish, Mish and Softplus, and
    ``min(max(x, low), high)`` -> Clip.
    """
    count = 0
    # From the end: whole patterns before their parts, which are unused then.
    for node in reversed(list(graph)):
        if not (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
            continue
        fused = _clip(graph, node) if node.op_type in ("Min", "Where") else _leaky(graph, node)
        if fused is None and node.op_type in LAST and not node.domain:
            fused = next((f for activation in ACTIVATIONS if (f := _fused(graph, node, activation)) is not None), None)
        if fused is not None:
            replace(graph, node.outputs[0], fused)
            count += 1
    return count


def _fused(graph: oir.Graph, node: oir.Node, activation: Activation) -> oir.Value | None:
    output = node.outputs[0]
    found = match(output, activation.template)
    # ONNX Runtime has most of these ops only in float32, and alpha is one.
    if found is None or sizes(found["x"]) != sizes(output) or output.dtype in (DOUBLE, BFLOAT16):
        return None
    attributes = {
        name: _constant(found[number]) if isinstance(number, str) else number
        for name, number in activation.attributes.items()
    }
    if None in attributes.values():
        return None
    return new_value(graph, node, activation.op_type, [found["x"]], sizes(output), attributes)


def _constant(value: oir.Value) -> float | None:
    """The number in a constant that is no weight: that stays in the file under its name."""
    return None if is_named(value) else scalar(value)


def _leaky(graph: oir.Graph, node: oir.Node) -> oir.Value | None:
    """``max(x, alpha * x)``, where alpha is between 0 and 1."""
    output = node.outputs[0]
    found = match(output, ("Max", "x", ("Mul", "x", "alpha")))
    alpha = None if found is None else _constant(found["alpha"])
    if found is None or alpha is None or not 0 < alpha < 1 or output.dtype in (DOUBLE, BFLOAT16):
        return None
    return new_value(graph, node, "LeakyRelu", [found["x"]], sizes(output), {"alpha": alpha})


def _clip(graph: oir.Graph, node: oir.Node) -> oir.Value | None:
    """``min(max(x, low), high)`` or a choice like it, also if the maximum is a Relu already: like Clip, that keeps a
    -0.
    """
    output = node.outputs[0]
    if node.domain or output.dtype not in (oir.DataType.FLOAT, oir.DataType.FLOAT16):
        return None
    if node.op_type == "Where":
        found = match(output, _BETWEEN)
        return None if found is None else _between(graph, node, found["x"], found["low"], found["high"])
    if len(inputs(node)) != 2:
        return None
    for inner, high in either(node):
        relu, maximum, upper = made_by(inner, "Relu"), made_by(inner, "Max"), scalar(high)
        if upper is None:
            continue
        if relu is not None and upper > 0:
            assert output.dtype is not None
            zero = constant_like(graph, np.asarray(0, output.dtype.numpy()))
            return new_value(graph, node, "Clip", [inputs(relu)[0], zero, high], sizes(output))
        for x, low in either(maximum) if maximum is not None and len(inputs(maximum)) == 2 else []:
            clipped = _between(graph, node, x, low, high)
            if clipped is not None:
                return clipped
    return None


def _between(graph: oir.Graph, node: oir.Node, x: oir.Value, low: oir.Value, high: oir.Value) -> oir.Value | None:
    lower, upper, shape = scalar(low), scalar(high), sizes(node.outputs[0])
    if lower is None or upper is None or not lower < upper or 0 in (lower, upper) or sizes(x) != shape:
        return None
    return new_value(graph, node, "Clip", [x, low, high], shape)
