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
    only_use,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import mends, reshape_target

__all__ = ["clip_indices"]


def clip_indices(graph: oir.Graph) -> int:
    """``clip(w, 0, n - 1)`` as an index into n elements -> ``clip(i, -n, n - 1)``, and ``0 <= w <= n - 1`` ->
    ``i == clip(i, -n, n - 1)``, where w is ``i < 0 ? i + n : i``: Gather counts from the end by itself.

    An index takes its axes after it is clipped, and one that is alone has none.

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
                equal = [_clipped(graph, node, index, -length, length - 1), index]
                inside = new_value(graph, node, "Equal", equal, sizes(index), dtype=oir.DataType.BOOL)
                shaped = _in_shape(graph, node, inside, sizes(node.outputs[0]))
                if shaped is not None:
                    replace(graph, node.outputs[0], shaped)
                    count += 1
        elif node.op_type in ("Gather", "GatherElements"):
            data, places = inputs(node)
            found = _moved_inside(places, sizes(data)[attribute(node, "axis", 0)])
            clipped = None if found is None else _in_shape(graph, node, _clipped(graph, node, *found), sizes(places))
            if clipped is not None:
                node.replace_input_with(1, clipped)
                count += 1
            count += _take_one(graph, node)
    return count


def _take_one(graph: oir.Graph, node: oir.Node) -> bool:
    """``Reshape(Gather(x, i))`` that drops the axis of the only index -> ``Gather(x, Reshape(i))``."""
    x, places = inputs(node)
    user, axis = only_use(node.outputs[0]), attribute(node, "axis", 0)
    if node.op_type != "Gather" or sizes(places) != [1] or user is None or user.op_type not in ("Reshape", "Squeeze"):
        return False
    others = sizes(x)[:axis] + sizes(x)[axis + 1 :]
    if sizes(user.outputs[0]) != others or mends(user):
        return False
    alone = new_value(graph, node, "Reshape", [places, constant_like(graph, np.asarray([], np.int64))], [])
    replace(graph, user.outputs[0], new_value(graph, node, "Gather", [x, alone], others, dict(node.attributes)))
    return True


def _in_shape(graph: oir.Graph, node: oir.Node, value: oir.Value, shape: list[int | str]) -> oir.Value | None:
    """A value in another shape; None if that cannot be written."""
    if sizes(value) == shape:
        return value
    target = reshape_target(shape)
    return None if target is None else new_value(graph, node, "Reshape", [value, constant_like(graph, target)], shape)


def _clipped(graph: oir.Graph, node: oir.Node, index: oir.Value, low: int, high: int) -> oir.Value:
    bounds = [constant_like(graph, np.asarray(bound, np.int32)) for bound in (low, high)]
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


def _moved_inside(value: oir.Value, length: int | str) -> tuple[oir.Value, int, int] | None:
    """(i, low, high) if a value is ``clip(w, 0, n - 1)``, possibly with new axes, where w is ``i < 0 ? i + n : i`` or i
    with new axes; n is the length.
    """
    clip = made_by(_unmoved(value), "Clip")
    if clip is None or value.dtype != oir.DataType.INT32:
        return None
    w, low, high = inputs(clip)
    if not isinstance(length, int) or _number(low) != 0 or _number(high) != length - 1:
        return None
    found, index = _from_the_end(w), _unmoved(w)
    if found is not None and found[1] == length:
        return found[0], -length, length - 1
    return None if clip.outputs[0] is value or index is w else (index, 0, length - 1)


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
