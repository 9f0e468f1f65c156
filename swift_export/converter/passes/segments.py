"""Recognises indices that scatter and gather the rows of the same segments."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import array, either, inputs, made_by, sizes
from swift_export.converter.passes.templates import match

__all__ = ["are_segments", "repeated_rows"]

INT32, INT64 = oir.DataType.INT32, oir.DataType.INT64
#: ``min(max(i, 0), last)`` by one op, on int32 and, where ONNX Runtime orders wrongly, on int64.
CLAMPED = (
    ("Clip", "i", "zero", "last"),
    ("Min", ("Max", "i", "zero"), "last"),
    (
        "Where",
        ("Less", ("Where", ("Greater", "i", "zero"), "i", "zero"), "last"),
        ("Where", ("Greater", "i", "zero"), "i", "zero"),
        "last",
    ),
)


def repeated_rows(positions: oir.Value, axis: int = 0) -> oir.Value | None:
    """The value that has the row of each slice, in order, if these positions along an axis repeat it for each element
    of a slice.
    """
    shape = sizes(positions)
    if len(shape) > 1:
        repeated = made_by(positions, "Expand")
        before = sizes(inputs(repeated)[0]) if repeated is not None else []
        if repeated is None or [*[1] * (len(shape) - len(before)), *before] != [
            size if i == axis else 1 for i, size in enumerate(shape)
        ]:
            return None
        positions = inputs(repeated)[0]
    return _unmoved(positions)


def are_segments(positions: oir.Value, places: oir.Value) -> bool:
    """Whether each row is scattered to where it is gathered, unless its index is outside: then to one that is cut off.

    ``positions`` of a ScatterElements are ``i == clamp(i) ? clamp(i) : n``, ``places`` of a Gather equal ``i`` where
    that is inside; both have an element for each row.
    """
    scattered, gathered = repeated_rows(positions), _unmoved(places)
    if scattered is None or len(sizes(places)) != 1:
        return False
    first, second = array(scattered), array(gathered)
    if first is not None and second is not None:
        return first.size == second.size and bool((first.reshape(-1) == second.reshape(-1)).all())
    choice = made_by(scattered, "Where")
    if choice is None:
        return False
    inside, kept, outside = inputs(choice)
    length, test = _number(outside), made_by(_unmoved(inside), "Equal")
    if length is None or test is None:
        return False
    for whole, clamped in either(test):
        index = _widened(whole)
        if _clamped(clamped, length) is index and _inside(kept, length) is index:
            return _inside(gathered, length) is index
    return False


def _clamped(value: oir.Value, length: int) -> oir.Value | None:
    """The index i if a value is i clamped to ``0 .. length - 1``."""
    for template in CLAMPED:
        found = match(_widened(value), template)
        if found is not None and _number(found["zero"]) == 0 and _number(found["last"]) == length - 1:
            return _widened(found["i"])
    return None


def _inside(value: oir.Value, length: int) -> oir.Value:
    """The index that a value equals wherever that is in ``0 .. length - 1``."""
    value = _widened(value)
    node = made_by(value, "Cast", "Clip", "Max", "Min", "Where")
    if node is None:
        return value
    if node.op_type == "Cast":
        return _inside(inputs(node)[0], length) if value.dtype in (INT32, INT64) else value
    if node.op_type == "Clip":
        index, *bounds = inputs(node)
        low, high = (_number(bound) for bound in bounds) if len(bounds) == 2 else (None, None)
        keeps = low is not None and high is not None and low <= 0 and high >= length - 1
        return _inside(index, length) if keeps else value
    if node.op_type == "Where":
        test, first, second = inputs(node)
        compared = made_by(_unmoved(test), "Greater", "Less")
        if compared is None:
            return value
        left, bound = inputs(compared)[0], _number(inputs(compared)[1])
        if compared.op_type == "Less" and bound == 0:  # i < 0 ? i + n : i
            index = _inside(second, length)
            return index if _inside(left, length) is index else value
        keeps = bound is not None and (bound <= 0 if compared.op_type == "Greater" else bound >= length - 1)
        same = inputs(compared)[1] is second and left is first
        return _inside(first, length) if keeps and same else value
    for index, other in either(node):
        bound = _number(other)
        if bound is not None and (bound <= 0 if node.op_type == "Max" else bound >= length - 1):
            return _inside(index, length)
    return value


def _unmoved(value: oir.Value) -> oir.Value:
    """The value before reshapes, with the same elements in the same order."""
    while (move := made_by(value, "Identity", "Reshape", "Squeeze", "Unsqueeze")) is not None:
        value = inputs(move)[0]
    return value


def _widened(value: oir.Value) -> oir.Value:
    """The value before reshapes and casts to int64."""
    while (cast := made_by(_unmoved(value), "Cast")) is not None and cast.outputs[0].dtype == INT64:
        value = inputs(cast)[0]
    return _unmoved(value)


def _number(value: oir.Value) -> int | None:
    """The integer that all elements of a constant are."""
    elements = array(value)
    if elements is None or elements.size == 0 or elements.dtype.kind not in "iu":
        return None
    return int(elements.flat[0]) if (elements == elements.flat[0]).all() else None
