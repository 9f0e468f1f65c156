"""Sums of two arrays with zeros between their elements: the elements of both in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, known
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame
from swift_export.converter.rules.spacing import Cut, taken
from swift_export.converter.rules.terms import FLOATS

__all__ = ["woven"]


@dataclass(frozen=True)
class _Spread:
    """An array with a zero between its elements along an axis, ``low`` of them in front and ``high`` behind."""

    value: oir.Value
    axis: int
    low: int
    high: int
    zero: np.ndarray


#: Marks a value, in its ``meta``, without -0.
_UNSIGNED_ZEROS = "unsigned zeros"


def woven(frame: Frame, op: Any) -> oir.Value | None:
    """The sum or union of arrays of which one has elements where the other has zeros; None for other operands.

    So `associative_scan` puts its halves together. Padding is slow in ONNX Runtime, more so along the last axis.
    """
    found = [part for operand in op.operands if (part := _spread(frame, operand)) is not None]
    ours, theirs = sorted(found, key=lambda part: part.low) if len(found) == 2 else (None, None)
    if ours is None or theirs is None or ours.axis != theirs.axis or (ours.low, theirs.low) != (0, 1):
        return None
    b, axis = frame.builder, ours.axis
    shapes = [b.shape(part.value) for part in (ours, theirs)]
    lengths = [shape[axis] for shape in shapes]
    rest = [(*shape[:axis], *shape[axis + 1 :]) for shape in shapes]
    count, odd = lengths[1], lengths[0] != lengths[1]
    if not isinstance(count, int) or lengths[0] != count + odd or rest[0] != rest[1]:
        return None
    if (ours.high, theirs.high) != ((0, 1) if odd else (1, 0)) or not count:
        return None
    first, second = _plus(b, ours.value, theirs.zero), _plus(b, theirs.value, ours.zero)
    value = _alternating(b, [taken(b, first, {axis: Cut(count, 0, int(odd))}), second], axis)
    if odd:
        assert value.dtype is not None
        last = taken(b, first, {axis: Cut(1, count)})
        value = b.node("Concat", [value, last], value.dtype, _sized(shapes[0], axis, 2 * count + 1), axis=axis)
    value.meta[_UNSIGNED_ZEROS] = not np.signbit([ours.zero, theirs.zero]).any()
    frame.shapes[op.results[0]] = b.shape(value)
    return value


def _plus(b: Builder, value: oir.Value, zero: np.ndarray) -> oir.Value:
    """A float's sum with a zero, whose sign a -0 takes. ONNX Runtime's optimiser would remove that of a single zero."""
    if value.dtype not in FLOATS or np.signbit(zero) or value.meta.get(_UNSIGNED_ZEROS):
        return value
    long = [(axis, size) for axis, size in enumerate(b.shape(value)) if isinstance(size, int) and size > 1]
    axis, size = long[-1] if long else (len(b.shape(value)) - 1, 1)
    zeros = np.zeros([size, *[1] * (len(b.shape(value)) - 1 - axis)], value.dtype.numpy())
    return b.same_type("Add", value, b.constant(zeros))


def _spread(frame: Frame, operand: Any) -> _Spread | None:
    pad: Any = getattr(operand, "owner", None)  # an element of a tuple has none
    if getattr(pad, "name", "") != "stablehlo.pad":
        return None
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    low, high, between = (list(pad.attributes[name]) for name in names)
    axes = [axis for axis, widths in enumerate(zip(low, high, between, strict=True)) if any(widths)]
    filling = known(frame.compact(pad.operands[1]))
    if len(axes) != 1 or between[axes[0]] != 1 or filling is None or np.any(filling):
        return None
    (axis,) = axes
    return _Spread(frame.full(pad.operands[0]), axis, low[axis], high[axis], filling.astype(float).reshape(()))


def _alternating(b: Builder, parts: list[oir.Value], axis: int) -> oir.Value:
    """The elements of both in turn: they stand one behind the other along the next axis."""
    shape, dtype = b.shape(parts[0]), parts[0].dtype
    assert dtype is not None
    whole = _sized(shape, axis, 2 * shape[axis])
    if axis == len(shape) - 1:
        shape = (*shape, 1)
        parts = [b.reshape(part, shape) for part in parts]
    joined = _sized(shape, axis + 1, 2 * shape[axis + 1])
    return b.reshape(b.node("Concat", parts, dtype, joined, axis=axis + 1), whole)


def _sized(shape: Shape, axis: int, size: Any) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
