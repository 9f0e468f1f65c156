"""Replaces the split of a product by separate products."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    followed,
    inputs,
    integers,
    named_constant,
    new_value,
    only_use,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import reshape_target
from swift_export.converter.passes.split import slice_bounds

__all__ = ["Product", "constant_product", "part_of", "split_products"]

#: Enough for q, k, v and a gate. Each product reads the rows again, which does not pay off for many narrow ones.
MOST_PIECES = 4


@dataclass(frozen=True)
class Product:
    """A product with a constant matrix: ``axis`` is the matrix's axis of columns; ``last`` adds the bias, if any."""

    node: oir.Node
    last: oir.Node
    x: oir.Value
    matrix: oir.Value
    axis: int
    bias: oir.Value | None


@dataclass(frozen=True)
class _Piece:
    start: int
    stop: int
    output: oir.Value
    target: np.ndarray


def split_products(graph: oir.Graph) -> int:
    """``Split(x @ W + b)`` of columns with constants W and b -> ``x @ W[:, i:j] + b[i:j]`` for each piece.

    Columns of a product are independent, so splitting the matrix once, at export, saves copying the pieces in each run.
    The columns may be cut into several axes before, of which the outermost is split: (3, heads, channels).
    """
    count = 0
    for node in list(graph):
        product = constant_product(node)
        # A matrix with other uses would be stored twice.
        if product is None or only_use(product.matrix) is None:
            continue
        pieces = _pieces(product.last.outputs[0])
        for piece in pieces:
            replace(graph, piece.output, _multiply(graph, product, piece))
        count += bool(pieces)
    return count


def constant_product(node: oir.Node) -> Product | None:
    """A node as a product with a constant matrix, if it is one."""
    if node.op_type not in ("Gemm", "MatMul") or node.domain:
        return None
    x, matrix, *rest = inputs(node)
    columns = sizes(matrix)
    if array(matrix) is None or len(columns) != 2:
        return None
    if node.op_type == "MatMul":
        last, bias = followed(node, "Add", columns[1:])
        if array(bias) is None:
            last, bias = node, None
        return Product(node, last, x, matrix, 1, bias)
    axis = 1 - attribute(node, "transB", 0)
    bias = rest[0] if rest else None
    plain = set(node.attributes) <= {"transB"}
    if not plain or (bias is not None and (array(bias) is None or sizes(bias) != [columns[axis]])):
        return None
    return Product(node, node, x, matrix, axis, bias)


def _pieces(value: oir.Value) -> list[_Piece]:
    """The pieces of a value's columns, through reshapes, if it has no other uses; else an empty list."""
    columns = int(sizes(value)[-1])
    user = only_use(value)
    while user is not None and user.op_type in ("Reshape", "Unsqueeze") and _outer_axis(user.outputs[0], columns) >= 0:
        value = user.outputs[0]
        user = only_use(value)
    pieces: list[_Piece] = []
    for user in value.consumers():
        cut = _cut(user, value, columns) if user.graph is value.graph else []
        if not cut:
            return []
        pieces += cut
    pieces.sort(key=lambda piece: piece.start)
    apart = all(a.stop <= b.start for a, b in pairwise(pieces))
    return pieces if apart and len(pieces) <= MOST_PIECES and not value.is_graph_output() else []


def _outer_axis(value: oir.Value, columns: int) -> int:
    """The axis from which on a value has so many elements; -1 if there is none."""
    count = 1
    for axis in reversed(range(len(sizes(value)))):
        size = sizes(value)[axis]
        count *= size if isinstance(size, int) else 0
        if count == columns or not 0 < count < columns:
            return axis if count == columns else -1
    return -1


def _cut(node: oir.Node, value: oir.Value, columns: int) -> list[_Piece]:
    """The pieces that a Split or Slice takes from a value's columns; empty if it does anything else."""
    rank = len(sizes(value))
    if node.op_type == "Slice" and (bounds := slice_bounds(node)) is not None:
        axis, start, stop = bounds
        cuts = [(start, stop)]
    elif node.op_type == "Split" and (lengths := integers(node.inputs[1])) is not None:
        axis = attribute(node, "axis", 0) % rank
        stops = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        cuts = [(stop - length, stop) for stop, length in zip(stops, lengths, strict=True)]
    else:
        return []
    outer = _outer_axis(value, columns)
    width = columns // max(1, int(sizes(value)[outer]))
    pieces = [
        _Piece(start * width, stop * width, output, target)
        for (start, stop), output in zip(cuts, node.outputs, strict=True)
        if (target := reshape_target(sizes(output))) is not None
    ]
    return pieces if axis == outer and len(pieces) == len(cuts) else []


def _multiply(graph: oir.Graph, product: Product, piece: _Piece) -> oir.Value:
    matrix = part_of(graph, product.matrix, product.axis, piece.start, piece.stop)
    bias = None if product.bias is None else part_of(graph, product.bias, 0, piece.start, piece.stop)
    before, op_type = product.node, product.node.op_type
    shape = [*sizes(before.outputs[0])[:-1], piece.stop - piece.start]
    operands = [product.x, matrix, bias] if op_type == "Gemm" and bias is not None else [product.x, matrix]
    result = new_value(graph, before, op_type, operands, shape, dict(before.attributes))
    if op_type == "MatMul" and bias is not None:
        result = new_value(graph, product.last, "Add", [result, bias], shape)
    if sizes(piece.output) == shape:
        return result
    # In the scope of the original node, after which later values are named.
    cutter = piece.output.producer()
    assert cutter is not None
    return new_value(graph, cutter, "Reshape", [result, constant_like(graph, piece.target)], sizes(piece.output))


def part_of(graph: oir.Graph, value: oir.Value, axis: int, start: int, stop: int) -> oir.Value:
    """Rows or columns of a constant, named after it."""
    elements = array(value)
    assert elements is not None
    where = f"{start}:{stop}"
    part = elements[start:stop] if axis == 0 else elements[:, start:stop]
    return named_constant(graph, f"{value.name}[{where if axis == 0 else f':, {where}'}]", np.ascontiguousarray(part))
