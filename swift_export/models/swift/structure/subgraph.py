"""Finds parts of an ONNX graph by scope and evaluates them with ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as oir
from onnx.reference import ReferenceEvaluator

__all__ = ["Unreadable", "depends_on", "evaluate", "nodes_in"]

#: Ops that move or make data. Any other op between two points means an unexpected structure.
_READABLE = frozenset(
    {
        *("Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Pad"),
        *("Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
        *("Add", "And", "Cast", "CumSum", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Range", "Sub", "Where", "Xor"),
    }
)


class Unreadable(Exception):  # noqa: N818 - a finding, not a fault of the program
    """A part of a graph with an unexpected structure; the message describes it."""


def nodes_in(graph: oir.Graph, scope: str, op_type: str) -> list[oir.Node]:
    """The nodes of one op type in a scope, in order."""
    return [node for node in graph if node.op_type == op_type and (node.name or "").startswith(f"{scope}/")]


def depends_on(value: oir.Value, source: oir.Value) -> bool:
    """Whether ``value`` is computed from ``source``."""
    seen: set[oir.Value] = set()
    open_values = [value]
    while open_values:
        current = open_values.pop()
        if current is source:
            return True
        producer = current.producer()
        if producer is not None and current not in seen:
            open_values += [i for i in producer.inputs if i is not None]
        seen.add(current)
    return False


def evaluate(model: oir.Model, target: oir.Value, given: Mapping[oir.Value, np.ndarray]) -> np.ndarray:
    """Compute ``target`` from the values ``given`` and from constants.

    Raises Unreadable if it depends on other values, or on an op that does more than move data.
    """
    if target in given:
        return given[target]
    nodes, initializers = _needed(target, set(given))
    graph = onnx.helper.make_graph(
        [_exact(oir.to_proto(node)) for node in nodes],
        "part",
        [onnx.helper.make_tensor_value_info(str(v.name), _element_type(a), a.shape) for v, a in given.items()],
        [onnx.helper.make_value_info(str(target.name), onnx.TypeProto())],
        [_tensor(value) for value in initializers],
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.graph.opset_imports.items()]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))
    try:
        (result,) = evaluator.run(None, {str(value.name): array for value, array in given.items()})
    except (LookupError, RuntimeError, TypeError, ValueError) as error:  # NumPy's errors for shapes that do not fit
        raise Unreadable(f"cannot be computed ({error})") from None
    return np.asarray(result)


def _exact(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node, or Identity for a conversion to 16 bits, which would round the numbers of tokens."""
    if node.op_type == "Cast" and node.attribute[0].i in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        return onnx.helper.make_node("Identity", node.input, node.output)
    return node


def _needed(target: oir.Value, given: set[oir.Value]) -> tuple[list[oir.Node], list[oir.Value]]:
    """The nodes in order of execution, and the constants that ``target`` needs."""
    nodes: dict[oir.Node, None] = {}
    initializers: dict[oir.Value, None] = {}

    def need(value: oir.Value) -> None:
        if value in given:
            return
        producer = value.producer()
        if producer is None:
            if value.const_value is None:
                raise Unreadable(f"depends on {value.name}")
            initializers[value] = None
        elif producer not in nodes:
            if producer.op_type not in _READABLE or producer.domain not in ("", "ai.onnx"):
                raise Unreadable(f"depends on {producer.op_type} {producer.name}")
            for inner in producer.inputs:
                if inner is not None:
                    need(inner)
            nodes[producer] = None

    need(target)
    return list(nodes), list(initializers)


def _tensor(value: oir.Value) -> onnx.TensorProto:
    assert value.const_value is not None
    return onnx.numpy_helper.from_array(value.const_value.numpy(), str(value.name))


def _element_type(array: np.ndarray) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
