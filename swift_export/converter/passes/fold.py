"""Folds nodes of constant operands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as oir
from onnx.reference import ReferenceEvaluator

from swift_export.converter.builder import SHORT
from swift_export.converter.passes.loops import KEPT
from swift_export.converter.passes.match import (
    FLOATS,
    array,
    constant_like,
    inputs,
    is_named,
    only_use,
    permutation,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import root

__all__ = ["fold_constants", "results"]

#: Bytes that a node's result may always take; a larger one must replace constants of at least its size.
FREE_BYTES = 64 * 1024

MOVES = frozenset(
    {"Concat", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
#: Moves of whole arrays, which NumPy makes of any type.
KEEPING_BITS = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
CHOICES = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where", "Xor"})
#: On floats, these ops have one exact result, which every runtime gives. Others stay in the graph: sums, products of
#: matrices, exponentials and the like vary, and ops that only repeat elements keep the file small.
EXACT = frozenset({"Abs", "Add", "Ceil", "Div", "Floor", "Mul", "Neg", "Reciprocal", "Sqrt", "Sub"})
#: Implementations differ on quotients of integers and on floats out of an integer type's range.
EXACT_ON_INTEGERS = (EXACT | {"Cast", "Clip", "Max", "Min", "Range", "Sign"}) - {"Div", "Reciprocal", "Sqrt"}

_INTEGERS = (oir.DataType.INT64, oir.DataType.INT32, oir.DataType.UINT8)
DTYPES = frozenset({*FLOATS, *_INTEGERS, oir.DataType.BOOL}) - {oir.DataType.BFLOAT16}


def fold_constants(graph: oir.Graph) -> int:
    """A node of constant operands -> its result, unless that makes the file much larger.

    Named constants and the nodes that read them stay, so that a checkpoint's tensors are found by name.
    """
    count = 0
    for node in list(graph):
        if not _foldable(node):
            continue
        known = [found for value in inputs(node) if (found := array(value)) is not None]
        for output, elements in zip(node.outputs, results(node, known), strict=True):
            replace(graph, output, constant_like(graph, elements))
        count += 1
    return count


def _foldable(node: oir.Node) -> bool:
    operands, outputs = inputs(node), list(node.outputs)
    if node.domain or KEPT in node.meta or not any(value.uses() for value in outputs):
        return False
    if any(array(value) is None or is_named(value) for value in operands):
        return False
    if _widens_vector(node):
        return True
    types = DTYPES | {oir.DataType.BFLOAT16} if node.op_type in KEEPING_BITS else DTYPES
    if any(value.shape is None or value.dtype not in types for value in (*operands, *outputs)) or any(
        v.is_graph_output() for v in outputs
    ):
        return False
    exact = EXACT if operands and operands[0].dtype in FLOATS else EXACT_ON_INTEGERS
    if (node.op_type not in MOVES | CHOICES | exact and not _is_clear(node)) or _matrix_of_a_product(node):
        return False
    gone = sum(_bytes(value) for value in operands if only_use(value) is node)
    return sum(map(_bytes, outputs)) <= max(FREE_BYTES, gone)


def _is_clear(node: oir.Node) -> bool:
    """Whether runtimes agree on a maximum, a quotient of integers or a conversion to integers of these elements."""
    known = [found for value in inputs(node) if (found := array(value)) is not None]
    if node.op_type in ("Max", "Min"):
        return not any(np.any(np.isnan(v) | ((v == 0) & np.signbit(v))) for v in known if v.dtype.kind == "f")
    if node.op_type == "Div":
        return known[0].dtype.kind in "iu" and bool(np.all(known[0] >= 0) and np.all(known[1] > 0))
    signed = node.outputs[0].dtype in (oir.DataType.INT32, oir.DataType.INT64)
    return node.op_type == "Cast" and signed and known[0].dtype.kind == "f" and bool(np.all(np.abs(known[0]) < 2**31))


def _widens_vector(node: oir.Node) -> bool:
    """Whether biases, scales and the like are converted to float32; matrices keep their 16 bits in the file."""
    (x, *_), output = node.inputs, node.outputs[0]
    return (
        node.op_type == "Cast"
        and x is not None
        and x.dtype in SHORT
        and output.dtype == oir.DataType.FLOAT
        and sum(size != 1 for size in sizes(output)) < 2
        and not output.is_graph_output()
    )


def _matrix_of_a_product(node: oir.Node) -> bool:
    # Gemm reads a transposed matrix directly.
    users = [user.op_type for value in node.outputs for user in value.consumers()]
    return node.op_type == "Transpose" and len(sizes(node.outputs[0])) == 2 and "MatMul" in users


def _bytes(value: oir.Value) -> float:
    known = [s for s in sizes(value) if isinstance(s, int)]
    complete = value.dtype is not None and len(known) == len(sizes(value))
    return math.prod(known) * value.dtype.itemsize if complete and value.dtype is not None else math.inf


def results(node: oir.Node, elements: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of ONNX's reference implementation on these elements of the operands."""
    if _widens_vector(node):
        return [elements[0].astype(np.float32)]
    known = [size for size in sizes(node.outputs[0]) if isinstance(size, int)]
    if node.op_type in KEEPING_BITS and len(known) == len(sizes(node.outputs[0])):
        moved = elements[0].transpose(permutation(node)) if node.op_type == "Transpose" else elements[0]
        return [np.ascontiguousarray(moved).reshape(known)]
    operands = [oir.val(f"x{i}", v.dtype, v.shape) if v is not None else None for i, v in enumerate(node.inputs)]
    outputs = [oir.val(f"y{i}", v.dtype, v.shape) for i, v in enumerate(node.outputs)]
    alone = oir.node(node.op_type, operands, dict(node.attributes), outputs=outputs)
    assert node.graph is not None
    present = [v for v in operands if v is not None]
    graph = oir.Graph(present, outputs, nodes=[alone], opset_imports=root(node.graph).opset_imports, name="node")
    evaluator = ReferenceEvaluator(oir.to_proto(oir.Model(graph, ir_version=10)))
    fed = {str(v.name): given for v, given in zip(present, elements, strict=True)}
    return [np.asarray(result) for result in evaluator.run(None, fed)]
