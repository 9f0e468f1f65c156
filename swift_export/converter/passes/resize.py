"""Reads constant indices, and fuses Resize from gathers that repeat each place of an axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.fold import results
from swift_export.converter.passes.match import (
    array,
    attribute,
    can_replace,
    constant_like,
    inputs,
    is_named,
    made_by,
    new_value,
    only_use,
    replace,
    sizes,
)

__all__ = ["fold_indices", "fuse_resize"]

#: Ops of which indices are computed; each has one exact result on small integers, and on floats that are near them.
_EXACT = (
    "Abs Add And Cast Ceil Clip Concat Div Equal Expand Floor Greater GreaterOrEqual Less LessOrEqual Max Min Mul Neg "
    "Not Or Range ReduceSum Reshape Squeeze Sub Transpose Unsqueeze Where"
)
EXACT = frozenset(_EXACT.split())
#: The most indices that become a constant and that are computed, and what is above all numbers that are converted.
MOST, COMPUTED, LARGEST = 2**12, 2**20, 2**31


def fold_indices(graph: oir.Graph) -> int:
    """A Gather by indices computed of constants -> by a constant; of places in a grid, by one for each axis."""
    count, known = 0, dict[oir.Value, np.ndarray | None]()
    indices: dict[bytes, oir.Value] = {}
    for node in list(graph):
        index = node.inputs[1] if node.op_type == "Gather" and not node.domain else None
        if index is None or index.shape is None or not sizes(index) or array(index) is not None:
            continue
        found = _computed(index, known)
        if found is None or found.dtype not in (np.int32, np.int64):
            continue
        by_axis = _by_axis(graph, node, found, indices)
        if by_axis is not None:
            replace(graph, node.outputs[0], by_axis)
        elif found.size <= MOST:
            node.replace_input_with(1, constant_like(graph, found))
        else:
            continue
        count += 1
    return count


def _by_axis(graph: oir.Graph, node: oir.Node, places: np.ndarray, indices: dict[bytes, oir.Value]) -> oir.Value | None:
    """Two axes, read as one by rows and columns of places -> one after the other; equal indices are one value."""
    (x, _), output = inputs(node), node.outputs[0]
    merged = made_by(x, "Reshape")
    axis = attribute(node, "axis", 0) % len(sizes(x))
    grid = inputs(merged)[0] if merged is not None else None
    if grid is None or places.ndim != 2 or places.size == 0 or len(sizes(grid)) != len(sizes(x)) + 1:
        return None
    height, width = sizes(grid)[axis : axis + 2]
    same = [*sizes(grid)[:axis], *sizes(grid)[axis + 2 :]] == [*sizes(x)[:axis], *sizes(x)[axis + 1 :]]
    if not (same and isinstance(height, int) and isinstance(width, int)):
        return None
    rows, columns = places[:, 0] // max(width, 1), places[0] % max(width, 1)
    inside = places.min() >= 0 and places.max() < height * width
    if not inside or not np.array_equal(places, rows[:, None] * width + columns):
        return None
    steps = (axis, rows), (axis + 1, columns)
    # Rows are copied whole, columns by element: of as few rows as possible, and once for grids of the same columns.
    for at, taken in steps if len(rows) < height else steps[::-1]:
        shape = [*sizes(grid)[:at], len(taken), *sizes(grid)[at + 1 :]]
        if not np.array_equal(taken, np.arange(sizes(grid)[at])):
            elements = taken.astype(np.int64)
            index = indices.get(elements.tobytes()) or constant_like(graph, elements)
            indices[elements.tobytes()] = index
            grid = new_value(graph, node, "Gather", [grid, index], shape, {"axis": at})
    return grid if can_replace(output, grid) else None


def _computed(value: oir.Value, known: dict[oir.Value, np.ndarray | None]) -> np.ndarray | None:
    """The elements of an expression of constants."""
    if value not in known:
        elements = array(value)
        if elements is None:
            elements = _result(value, known)
        elif value.is_initializer() and is_named(value):
            elements = None
        known[value] = elements if elements is not None and elements.size <= COMPUTED else None
    return known[value]


def _result(value: oir.Value, known: dict[oir.Value, np.ndarray | None]) -> np.ndarray | None:
    node = value.producer()
    if node is None or node.domain or node.op_type not in EXACT or value.shape is None:
        return None
    operands = [_computed(v, known) for v in inputs(node)]
    present = [v for v in operands if v is not None]
    if len(present) < len(operands) or len(operands) < len(node.inputs):
        return None
    # Runtimes differ on casts of larger ones.
    if node.op_type == "Cast" and not np.all(np.abs(present[0].astype(np.float64)) < LARGEST):
        return None
    return results(node, present)[0]


def fuse_resize(graph: oir.Graph) -> int:
    """Gathers that take each place 2, 4 or 8 times, along spatial axes -> Resize to the nearest place."""
    count = 0
    for node in list(graph):
        times = _repeats(node)
        if node.graph is None or times is None:
            continue
        axis, factor = times
        x, output = inputs(node)[0], node.outputs[0]
        scales = np.ones(len(sizes(x)), np.float32)
        scales[axis] = factor
        before = made_by(x, "Resize")
        if before is not None and only_use(x) is node and (more := _scales(before)) is not None:
            x, scales = inputs(before)[0], scales * more
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        none = constant_like(graph, np.zeros(0, np.float32))
        new = new_value(graph, node, "Resize", [x, none, constant_like(graph, scales)], sizes(output), modes)
        replace(graph, output, new)
        count += 1
    return count


def _repeats(node: oir.Node) -> tuple[int, int] | None:
    """The axis of which a Gather takes each place several times, and how often, if Resize gives the same."""
    if node.op_type != "Gather" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
        return None
    x, index = inputs(node)
    places, shape = array(index), sizes(x)
    axis = attribute(node, "axis", 0) % len(shape)
    length = shape[axis]
    if places is None or len(sizes(index)) != 1 or not isinstance(length, int) or axis < 2 or length == 0:
        return None
    if len(shape) > 4:
        return None  # ONNX Runtime gathers volumes faster.
    factor = len(places) // length
    # Quotients by powers of two are exact.
    exact = factor in (2, 4, 8) and np.array_equal(places, np.arange(length * factor) // factor)
    return (axis, factor) if exact else None


def _scales(node: oir.Node) -> np.ndarray | None:
    mode = node.attributes.get("nearest_mode")
    ours = len(node.inputs) == 3 and mode is not None and mode.as_string() == "floor"
    return array(node.inputs[2]) if ours else None
