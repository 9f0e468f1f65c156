"""Where the signs of zeros are lost: values of which no result tells +0 from -0."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.match import FLOATS, can_replace, inputs, new_value, replace, scalar, sizes
from swift_export.converter.passes.templates import Template, match

__all__ = ["MINIMUM", "forget_signs_of_zeros", "fuse_relu", "unsigned_zeros"]

#: The smaller of x and 0.
MINIMUM: Template = ("Where", ("Less", 0.0, "x"), 0.0, "x")

#: Results do not depend on the signs of zeros: sums begin with a zero of their own, and comparisons and these
#: functions take both zeros alike.
_ABSORBING = (
    "ArgMax ArgMin AveragePool Conv ConvTranspose Cos Cosh Equal Exp Gemm GlobalAveragePool Greater GreaterOrEqual "
    "IsInf IsNaN Less LessOrEqual Log LogSoftmax MatMul Not ReduceMean ReduceSum Sigmoid Softmax Softplus"
)
ABSORBING = frozenset(_ABSORBING.split())
#: Zeros of other signs change nothing but the signs of zeros in the result.
_PASSING = (
    "Abs Add BatchNormalization Clip Concat Elu Erf Expand Gather Gelu Identity InstanceNormalization "
    "LayerNormalization LeakyRelu Max MaxPool Min Mul Neg Pad ReduceMax ReduceMin RMSNormalization Relu Reshape Resize "
    "Sin Slice Softsign Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where"
)
PASSING = frozenset(_PASSING.split())
_EXTREMES: tuple[tuple[Template, str], ...] = (
    (("Where", ("Equal", ("Max", ("Reciprocal", "a"), ("Reciprocal", "b")), math.inf), ("Max", "y", 0.0), "y"), "Max"),
    (
        ("Where", ("Greater", ("Min", ("Reciprocal", "a"), ("Reciprocal", "b")), -math.inf), "y", ("Min", "y", -0.0)),
        "Min",
    ),
)
#: The same among ONNX Runtime's own ops.
MICROSOFT_ABSORBING = frozenset({"FusedMatMul", "MultiHeadAttention"})
MICROSOFT_PASSING = frozenset({"BiasGelu"})


def unsigned_zeros(graph: oir.Graph) -> set[oir.Value]:
    """The results of nodes whose zeros may have either sign: all that depends on them ends in sums and the like."""
    found: set[oir.Value] = set()
    for node in reversed(graph):
        for value in node.outputs:
            if not value.is_graph_output() and all(_ignores(use, graph, found) for use in value.uses()):
                found.add(value)
    return found


def _ignores(use: Any, graph: oir.Graph, found: set[oir.Value]) -> bool:
    node = use.node
    if node.graph is not graph:
        return False
    own = node.domain == MICROSOFT
    if node.domain and not own:
        return False
    if node.op_type in (MICROSOFT_ABSORBING if own else ABSORBING):
        return True
    passing = node.op_type in (MICROSOFT_PASSING if own else PASSING)
    if node.op_type == "Cast":
        passing = True
        if node.outputs[0].dtype not in FLOATS:
            return True
    if node.op_type == "Div":
        passing = use.idx == 0
    return passing and all(value in found for value in node.outputs)


def fuse_relu(graph: oir.Graph) -> int:
    """``max(x, 0)`` -> Relu, which runtimes join to the op before it, where a -0 that it keeps makes no difference."""
    nodes = [node for node in graph if node.op_type == "Max" and not node.domain and len(inputs(node)) == 2]
    unsigned = unsigned_zeros(graph) if nodes else set()
    count = 0
    for node in nodes:
        (x, zero), output = inputs(node), node.outputs[0]
        if scalar(x) is not None:
            x, zero = zero, x
        plain = x.dtype in (oir.DataType.FLOAT, oir.DataType.DOUBLE) and sizes(x) == sizes(output)
        if plain and scalar(zero) == 0 and output in unsigned:
            replace(graph, output, new_value(graph, node, "Relu", [x], sizes(x)))
            count += 1
    return count


def forget_signs_of_zeros(graph: oir.Graph) -> int:
    """``max(a, b)``, ``min(a, b)`` with nodes around it for the signs of zeros -> Max, Min, where no result tells them,
    or both operands have the same.
    """
    nodes = [node for node in graph if node.op_type == "Where" and not node.domain]
    unsigned = unsigned_zeros(graph) if nodes else set()
    count = 0
    for node in nodes:
        output = node.outputs[0]
        plain = _plain_extreme(graph, node, signed=output not in unsigned)
        if plain is not None and can_replace(output, plain):
            replace(graph, output, plain)
            count += 1
    return count


def _plain_extreme(graph: oir.Graph, node: oir.Node, *, signed: bool) -> oir.Value | None:
    output = node.outputs[0]
    found = match(output, MINIMUM)
    if found is not None:
        return None if signed else new_value(graph, node, "Min", [found["x"], inputs(node)[1]], sizes(output))
    for template, op_type in _EXTREMES:
        found = match(output, template)
        if found is None or match(found["y"], (op_type, "a", "b"), found) is None:
            continue
        if not signed or _is_multiple(found["a"], found["b"]) or _is_multiple(found["b"], found["a"]):
            return found["y"]
    return None


def _is_multiple(value: oir.Value, of: oir.Value) -> bool:
    """Whether a value is ``of`` times a positive number."""
    found = match(value, ("Mul", "x", "factor"), {"x": of})
    factor = scalar(found["factor"]) if found is not None else None
    return factor is not None and factor > 0
