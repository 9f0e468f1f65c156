"""Folds weighted sums of a product's columns into its matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    attribute,
    axes_of,
    constant_like,
    inputs,
    is_named,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["fold_weighted_sums"]

#: The fewest columns of a sum: a product with one column more takes as long as to weigh and add so many.
FEWEST_COLUMNS = 4


@dataclass(frozen=True)
class _Sum:
    """A weighted sum of columns of a product, which is ``matrix`` times the rows that the product takes."""

    node: oir.Node
    product: oir.Node
    matrix: np.ndarray
    target: np.ndarray


def fold_weighted_sums(graph: oir.Graph) -> int:
    """``ReduceSum((x @ W).reshape(n, heads, c) * v, -1)`` with unnamed constants -> ``x @ U``, a column for each head.

    So the scores of graph attention are a product themselves, one for both ends of an edge.
    """
    sums = [found for node in graph if (found := _weighted_sum(node)) is not None]
    for product in {found.product: None for found in sums}:
        _fold(graph, product, [found for found in sums if found.product is product])
    return len(sums)


def _weighted_sum(node: oir.Node) -> _Sum | None:
    if node.op_type != "ReduceSum" or node.domain or attribute(node, "noop_with_empty_axes", 0):
        return None
    weighted, target = made_by(inputs(node)[0], "Mul"), reshape_target(sizes(node.outputs[0]))
    if weighted is None or target is None or axes_of(node) != [len(sizes(weighted.outputs[0])) - 1]:
        return None
    for columns, weights in (inputs(weighted), inputs(weighted)[::-1]):
        factors, product = _unnamed(weights), made_by(columns, "MatMul", "Reshape")
        if product is not None and product.op_type == "Reshape":
            product = made_by(inputs(product)[0], "MatMul")
        if product is None or factors is None or sizes(columns) != sizes(weighted.outputs[0]):
            continue
        matrix, rows = _unnamed(inputs(product)[1]), sizes(product.outputs[0])[:-1]
        shape = sizes(columns)
        cut = [size for size in shape[len(rows) :] if isinstance(size, int)]
        if matrix is None or matrix.ndim != 2 or not cut or [*rows, *cut] != shape or factors.ndim > len(cut):
            continue
        if math.prod(cut) != matrix.shape[1] or cut[-1] < FEWEST_COLUMNS:
            continue
        dtype = product.outputs[0].dtype
        assert dtype is not None
        with np.errstate(all="ignore"):
            summed = (matrix.reshape(-1, *cut) * factors).sum(-1).astype(dtype.numpy())
        if np.isfinite(summed).all():
            return _Sum(node, product, summed.reshape(len(matrix), -1), target)
    return None


def _fold(graph: oir.Graph, product: oir.Node, sums: list[_Sum]) -> None:
    """Replace weighted sums of a product by another product."""
    rows = sizes(product.outputs[0])[:-1]
    matrix = constant_like(graph, np.concatenate([found.matrix for found in sums], 1))
    before = sums[0].node
    whole = new_value(graph, before, "MatMul", [inputs(product)[0], matrix], [*rows, *sizes(matrix)[1:]])
    stop = 0
    for found in sums:
        start, stop = stop, stop + found.matrix.shape[1]
        piece = whole
        if len(sums) > 1:
            bounds = (constant_like(graph, np.asarray([n], np.int64)) for n in (start, stop, len(rows)))
            piece = new_value(graph, found.node, "Slice", [whole, *bounds], [*rows, stop - start])
        shape = sizes(found.node.outputs[0])
        operands = [piece, constant_like(graph, found.target)]
        replace(graph, found.node.outputs[0], new_value(graph, found.node, "Reshape", operands, shape))


def _unnamed(value: oir.Value) -> np.ndarray | None:
    """The elements of a constant that is no named weight, in float64."""
    elements = array(value)
    kept = elements is None or is_named(value) or value.dtype not in (oir.DataType.FLOAT, oir.DataType.DOUBLE)
    return None if kept or elements is None else elements.astype(np.float64)
