"""Shortens the bounds of indices: negative ones count from the end, others are moved inside or marked."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["clip_indices"]


def clip_indices(graph: oir.Graph) -> int:
    """``min(max(w, 0), n - 1)`` as an index into n elements -> ``clip(i, -n, n - 1)``, and ``0 <= w <= n - 1`` ->
    ``i == clip(i, -n, n - 1)``, where w is ``i < 0 ? i + n : i``: Gather counts from the end by itself.

    On int32 only: ONNX Runtime orders int64 wrongly.
    """
    count = 0
    for node in list(graph):
        if node.domain or node.graph is None:
            continue
        if node.op_type == "And":
            bounded = _bounded(node)
            if bounded is not None:
                index, length = bounded
                equal = [_clipped(graph, node, index, length), index]
                inside = new_value(graph, node, "Equal", equal, sizes(index), dtype=oir.DataType.BOOL)
                shaped = _in_shape(graph, node, inside, sizes(node.outputs[0]))
                if shaped is not None:
                    replace(graph, node.outputs[0], shaped)
                    count += 1
        elif node.op_type == "Gather":
            data, places = inputs(node)
            axis, moved = attribute(node, "axis", 0), _moved_inside(places)
            if moved is None or sizes(data)[axis] != moved[1]:
                continue
            clipped = _in_shape(graph, node, _clipped(graph, node, *moved), sizes(places))
            if clipped is not None:
                node.replace_input_with(1, clipped)
                count += 1
    return count


def _in_shape(graph: oir.Graph, node: oir.Node, value: oir.Value, shape: list[int | str]) -> oir.Value | None:
    """A value in another shape; None if that cannot be written."""
    if sizes(value) == shape:
        return value
    target = reshape_target(shape)
    return None if target is None else new_value(graph, node, "Reshape", [value, constant_like(graph, target)], shape)


def _clipped(graph: oir.Graph, node: oir.Node, index: oir.Value, length: int) -> oir.Value:
    bounds = [constant_like(graph, np.asarray(bound, np.int32)) for bound in (-length, length - 1)]
    return new_value(graph, node, "Clip", [index, *bounds], sizes(index))


def _bounded(node: oir.Node) -> tuple[oir.Value, int] | None:
    """(i, n) if a node is ``0 <= w and w <= n - 1``, where w is ``i < 0 ? i + n : i``, possibly with new axes."""
    for low, high in either(node):
        above, below = made_by(low, "LessOrEqual"), made_by(high, "LessOrEqual")
        if above is None or below is None:
            continue
        (zero, w), (w_, last) = inputs(above), inputs(below)
        found = _from_the_end(w) if w is w_ and _number(zero) == 0 else None
        if found is not None and _number(last) == found[1] - 1:
            return found
    return None


def _moved_inside(value: oir.Value) -> tuple[oir.Value, int] | None:
    """(i, n) if a value is ``min(max(w, 0), n - 1)``, where w is ``i < 0 ? i + n : i``, possibly with new axes."""
    lower = made_by(_unmoved(value), "Min")
    for upper, last in either(lower) if lower is not None else ():
        largest = made_by(upper, "Max")
        for w, zero in either(largest) if largest is not None else ():
            found = _from_the_end(w) if _number(zero) == 0 else None
            if found is not None and _number(last) == found[1] - 1:
                return found
    return None


def _from_the_end(value: oir.Value) -> tuple[oir.Value, int] | None:
    """(i, n) if a value is ``i < 0 ? i + n : i``, on int32."""
    choice = made_by(_unmoved(value), "Where")
    if choice is None or value.dtype != oir.DataType.INT32:
        return None
    condition, wrapped, index = inputs(choice)
    negative, total = made_by(condition, "Less"), made_by(wrapped, "Add")
    if negative is None or total is None or inputs(negative)[0] is not index or _number(inputs(negative)[1]) != 0:
        return None
    lengths = [_number(other) for i, other in either(total) if i is index]
    length = lengths[0] if lengths else None
    return None if length is None or length < 1 else (index, length)


def _unmoved(value: oir.Value) -> oir.Value:
    """The value before reshapes."""
    while (move := made_by(value, "Reshape", "Squeeze", "Unsqueeze")) is not None:
        value = inputs(move)[0]
    return value


def _number(value: oir.Value) -> int | None:
    """The integer in a constant of one element."""
    elements = array(value)
    return None if elements is None or elements.size != 1 or elements.dtype.kind not in "iu" else int(elements.item())
