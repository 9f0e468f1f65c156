"""Nodes of constants, computed once."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir
from onnx.reference import ReferenceEvaluator

from swift_export.converter.passes.match import (
    FLOATS,
    array,
    constant_like,
    inputs,
    is_named,
    only_use,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import root

__all__ = ["fold_constants"]

#: What a node's result may always take, in bytes; more only in place of constants that go.
FREE_BYTES = 64 * 1024

MOVES = frozenset(
    {"Concat", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
CHOICES = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where", "Xor"})
#: On floats these have one right result, and every runtime gives it. Sums, products of matrices, exponentials and the
#: like do not: they stay. So do ops that only repeat: they are there to keep the file small.
EXACT = frozenset({"Abs", "Add", "Ceil", "Div", "Floor", "Mul", "Neg", "Reciprocal", "Sqrt", "Sub"})
#: Quotients of integers and floats out of range become what each implementation likes.
EXACT_ON_INTEGERS = (EXACT | {"Cast"}) - {"Div", "Reciprocal", "Sqrt"}

DTYPES = frozenset({*FLOATS, oir.DataType.INT64, oir.DataType.INT32, oir.DataType.BOOL}) - {oir.DataType.BFLOAT16}


def fold_constants(graph: oir.Graph) -> int:
    """A node whose operands are constants -> its result, where that does not swell the file.

    Constants with a name of their own stay as they are, and so do the nodes that read them: a tensor of a checkpoint is
    found under its name.
    """
    count = 0
    for node in list(graph):
        if not _foldable(node):
            continue
        results = _results(node)
        for output, elements in zip(node.outputs, results, strict=True):
            replace(graph, output, constant_like(graph, elements))
        count += 1
    return count


def _foldable(node: oir.Node) -> bool:
    operands, outputs = inputs(node), list(node.outputs)
    if node.domain or not any(value.uses() for value in outputs):
        return False
    if any(array(value) is None or is_named(value) for value in operands):
        return False
    if any(value.dtype not in DTYPES for value in (*operands, *outputs)) or any(v.is_graph_output() for v in outputs):
        return False
    exact = EXACT if operands and operands[0].dtype in FLOATS else EXACT_ON_INTEGERS
    if node.op_type not in MOVES | CHOICES | exact or _matrix_of_a_product(node):
        return False
    gone = sum(_bytes(value) for value in operands if only_use(value) is node)
    return sum(map(_bytes, outputs)) <= max(FREE_BYTES, gone)


def _matrix_of_a_product(node: oir.Node) -> bool:
    # Gemm takes it as it is stored.
    users = [user.op_type for value in node.outputs for user in value.consumers()]
    return node.op_type == "Transpose" and len(sizes(node.outputs[0])) == 2 and "MatMul" in users


def _bytes(value: oir.Value) -> float:
    known = [s for s in sizes(value) if isinstance(s, int)]
    complete = value.dtype is not None and len(known) == len(sizes(value))
    return math.prod(known) * value.dtype.itemsize if complete and value.dtype is not None else math.inf


def _results(node: oir.Node) -> list[np.ndarray]:
    """What ONNX's reference implementation gives."""
    operands = [oir.val(f"x{i}", v.dtype, v.shape) if v is not None else None for i, v in enumerate(node.inputs)]
    outputs = [oir.val(f"y{i}", v.dtype, v.shape) for i, v in enumerate(node.outputs)]
    alone = oir.node(node.op_type, operands, dict(node.attributes), outputs=outputs)
    assert node.graph is not None
    present = [v for v in operands if v is not None]
    graph = oir.Graph(present, outputs, nodes=[alone], opset_imports=root(node.graph).opset_imports, name="node")
    evaluator = ReferenceEvaluator(oir.to_proto(oir.Model(graph, ir_version=10)))
    fed = {f"x{i}": elements for i, v in enumerate(node.inputs) if (elements := array(v)) is not None}
    return [np.asarray(result) for result in evaluator.run(None, fed)]
