"""Shapes of all values in a graph of tf2onnx, which passes rely on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import onnx_ir as oir
from onnx_ir.passes.common import ShapeInferencePass

from swift_export.converter.builder import UNNAMED
from swift_export.converter.passes.fold import fold_constants
from swift_export.converter.passes.nested import all_nodes, bodies, graphs
from swift_export.errors import LoweringError

__all__ = ["complete_shapes"]

INTEGERS = (oir.DataType.INT32, oir.DataType.INT64)
#: The most elements of a vector of axes, bounds or the like.
FEW = 64


def complete_shapes(model: oir.Model) -> None:
    """Give every value a shape, by inferring shapes again behind operands that tf2onnx computes from constants.

    Unknown sizes without a name get one, so that they are not taken for equal. Raises LoweringError for a value with
    any number of axes.
    """
    if next(_without_shape(model.graph), None) is not None:
        _unname_integers(model.graph)
        while sum([fold_constants(graph) for graph in graphs(model.graph)]):
            pass
        ShapeInferencePass()(model)
        while _take_states_shapes(model.graph):
            ShapeInferencePass()(model)
    for node in _without_shape(model.graph):
        raise LoweringError(
            f"tf2onnx's operator {node.op_type} (node {node.name}): expected a result with a known number of axes, "
            "found any"
        )
    numbers = itertools.count()
    for value in _values(model.graph):
        if value.shape is not None:
            sizes = [size if isinstance(size, int) else size.value for size in value.shape]
            value.shape = oir.Shape([f"tf2onnx_{next(numbers)}" if size is None else size for size in sizes])


def _values(graph: oir.Graph) -> Iterator[oir.Value]:
    for node in all_nodes(graph):
        yield from node.outputs
        for body in bodies(node):
            yield from body.inputs


def _without_shape(graph: oir.Graph) -> Iterator[oir.Node]:
    return (node for node in all_nodes(graph) if any(v.shape is None or v.dtype is None for v in node.outputs))


def _unname_integers(graph: oir.Graph) -> None:
    """Let passes fold small vectors of integers, such as axes: their names are tf2onnx's own."""
    for number, value in enumerate(list(graph.initializers.values())):
        constant = value.const_value
        if constant is not None and constant.dtype in INTEGERS and constant.size <= FEW and not value.is_graph_output():
            graph.initializers.pop(str(value.name))
            value.name = f"{UNNAMED}{number}@tf2onnx"
            graph.register_initializer(value)


def _take_states_shapes(graph: oir.Graph) -> int:
    """Take the shapes of a Loop's results from its body: TensorFlow's states keep their number of axes."""
    count = 0
    for node in all_nodes(graph):
        if node.op_type != "Loop":
            continue
        (body,) = bodies(node)
        states = len(body.inputs) - 2
        for result, state in zip(node.outputs[:states], body.outputs[1:], strict=False):
            if result.shape is None and state.shape is not None:
                result.shape = oir.Shape([size if isinstance(size, int) else None for size in state.shape])
                count += 1
    return count
