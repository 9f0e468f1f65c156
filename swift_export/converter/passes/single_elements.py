"""Gathers and scatters short rows as single elements, which ONNX Runtime does faster."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    flattened,
    inputs,
    new_value,
    replace,
    sizes,
)

__all__ = ["element_positions", "gather_short_rows", "gathered"]

#: The longest row that ONNX Runtime copies slower than its elements one by one.
LONGEST_ROW = 8
#: The fewest rows that are worth the nodes that compute positions.
FEWEST_ROWS = 1024


def gather_short_rows(graph: oir.Graph) -> int:
    """``Gather(x, i)`` of many short rows -> ``GatherElements`` on vectors, ten times as fast for single elements."""
    count = 0
    for node in list(graph):
        if node.op_type != "Gather" or node.domain or attribute(node, "axis", 0) != 0:
            continue
        data, rows = inputs(node)
        number = sizes(rows)
        if array(data) is not None and array(rows) is not None:
            continue  # the runtime computes it when it loads the file
        if len(number) == 1 and isinstance(number[0], int) and number[0] >= FEWEST_ROWS and _is_short(data):
            replace(graph, node.outputs[0], gathered(graph, node, data, rows))
            count += 1
    return count


def _is_short(data: oir.Value) -> bool:
    shape = sizes(data)
    known = [size for size in shape if isinstance(size, int)]
    return len(known) == len(shape) and 1 <= math.prod(known[1:]) <= LONGEST_ROW


def gathered(graph: oir.Graph, before: oir.Node, data: oir.Value, rows: oir.Value) -> oir.Value:
    """The rows of a value with these numbers, a vector."""
    shape = [*sizes(rows), *sizes(data)[1:]]
    if not _is_short(data):
        return new_value(graph, before, "Gather", [data, rows], shape, {"axis": 0})
    flat = data if len(shape) == 1 else _reshaped(graph, before, data, [-1], [math.prod(map(int, sizes(data)))])
    positions = element_positions(graph, before, rows, sizes(data))
    found = new_value(graph, before, "GatherElements", [flat, positions], sizes(positions), {"axis": 0})
    if len(shape) == 1:
        return found
    return _reshaped(graph, before, found, [-1, *map(int, shape[1:])], shape)


def element_positions(graph: oir.Graph, before: oir.Node, rows: oir.Value, shape: list[int | str]) -> oir.Value:
    """The positions of the elements of rows, a vector of numbers, in an array of this shape, as a vector.

    Sizes but the first are known. Numbers that count from the end give positions that do.
    """
    width, (count,) = math.prod(map(int, shape[1:])), sizes(rows)
    if width == 1:
        return rows
    is_short = isinstance(shape[0], int) and shape[0] * width < 2**31
    dtype = oir.DataType.INT32 if is_short else oir.DataType.INT64
    if rows.dtype != dtype:
        rows = new_value(graph, before, "Cast", [rows], sizes(rows), {"to": dtype.value}, dtype=dtype)
    length, offsets = (constant_like(graph, n.astype(dtype.numpy())) for n in (np.asarray(width), np.arange(width)))
    starts = new_value(graph, before, "Mul", [rows, length], sizes(rows))
    # ONNX Runtime adds long rows to numbers, and transposes the result, ten times as fast as it adds numbers to short
    # rows.
    starts = _reshaped(graph, before, starts, [1, -1], [1, count])
    offsets = _reshaped(graph, before, offsets, [width, 1], [width, 1])
    table = new_value(graph, before, "Add", [starts, offsets], [width, count])
    turned = new_value(graph, before, "Transpose", [table], [count, width], {"perm": [1, 0]})
    whole = flattened([count, width])
    assert whole is not None
    return _reshaped(graph, before, turned, [-1], [whole])


def _reshaped(
    graph: oir.Graph, before: oir.Node, value: oir.Value, target: list[int], shape: list[int | str]
) -> oir.Value:
    operands = [value, constant_like(graph, np.asarray(target, np.int64))]
    return new_value(graph, before, "Reshape", operands, shape)
