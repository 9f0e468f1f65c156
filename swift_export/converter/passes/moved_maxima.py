"""Takes maxima after a change of axes instead of before it, as softmax under ``vmap`` needs."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    axes_of,
    constant_like,
    inputs,
    integers,
    made_by,
    new_value,
    permutation,
    sizes,
)

__all__ = ["move_maxima"]


def move_maxima(graph: oir.Graph) -> int:
    """``Transpose(x) - move(ReduceMax(x))`` -> ``y - ReduceMax(y)`` for ``y = Transpose(x)``, where the move is of
    transposes and new axes.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "Sub" or node.domain or made_by(node.inputs[1], "Transpose", "Unsqueeze") is None:
            continue
        x, largest = inputs(node)
        axes = _axes_of_maximum(largest, x)
        if not axes:
            continue
        shape = [1 if axis in axes else size for axis, size in enumerate(sizes(x))]
        operands = [x, constant_like(graph, np.asarray(axes, np.int64))]
        node.replace_input_with(1, new_value(graph, node, "ReduceMax", operands, shape, {"keepdims": 1}))
        count += 1
    return count


def _axes_of_maximum(value: oir.Value, x: oir.Value) -> list[int] | None:
    """The axes of x along which a value is its maximum, if it keeps them with size 1."""
    source, order = x, list(range(len(sizes(x))))
    while (node := made_by(source, "Transpose")) is not None:
        inner = permutation(node)
        source, order = inputs(node)[0], [inner[axis] for axis in order]
        places = _places(value, source)
        if places is None or len(places) != len(order):
            continue
        wide = [axis for axis, size in enumerate(sizes(x)) if size != 1]
        if all(places[axis] in (None, order[axis]) for axis in wide):
            return [axis for axis in wide if places[axis] is None]
    return None


def _places(value: oir.Value, x: oir.Value) -> list[int | None] | None:
    """The axes of x, in the order of the value's, along which it holds the maxima of x; None for an axis of size 1."""
    node = made_by(value, "ReduceMax", "Transpose", "Unsqueeze")
    if node is None:
        return None
    if node.op_type == "ReduceMax":
        axes = axes_of(node)
        if node.inputs[0] is not x or axes is None:
            return None
        kept = [None if axis in axes or size == 1 else axis for axis, size in enumerate(sizes(x))]
        return kept if attribute(node, "keepdims", 1) == 1 else [p for axis, p in enumerate(kept) if axis not in axes]
    places = _places(inputs(node)[0], x)
    if places is None or node.op_type == "Transpose":
        return None if places is None else [places[axis] for axis in permutation(node)]
    added = integers(node.inputs[1])
    for axis in sorted(axis % len(sizes(value)) for axis in added or ()):
        places.insert(axis, None)
    return places if added else None
