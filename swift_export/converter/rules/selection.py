"""select_and_scatter: the gradient of pooling by the largest or smallest element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.monoids import Combine, Monoid, combination, monoids
from swift_export.converter.rules.reduce_window import read_axes
from swift_export.converter.rules.spacing import Axis, Cut, interleaved, padded, taken

__all__: list[str] = []

DataType = oir.DataType

#: Larger windows would make too many nodes.
MOST_PLACES = 256


@rule("stablehlo.select_and_scatter", attributes=["window_dimensions", "window_strides", "padding"])
def select_and_scatter(frame: Frame, op: Any) -> oir.Value:
    """Write each source element to the position selected in its window; combine elements at the same position."""
    b = frame.builder
    operand, source, initial = op.operands
    shape = frame.shape(operand)
    axes = read_axes(op, len(shape))
    frame.shapes[op.results[0]] = shape
    count = math.prod(axis.size for axis in axes)
    if count > MOST_PLACES:
        raise frame.error(op, f"a window of {count} elements: the op's rule takes up to {MOST_PLACES}")
    scatter = monoids(op.regions[1], [frame.dtype(source)])
    if scatter is None:
        raise frame.error(op, "scatter body: the op's rule takes one op of both arguments")
    if 0 in frame.shape(source):
        return b.expand(frame.compact(initial), shape)
    places = _selected(frame, axes, frame.full(operand), combination(frame, op, op.regions[0]), frame.shape(source))
    return _scattered(frame, op, scatter[0], axes, places)


def _places(axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(axis.size) for axis in axes)))


def _selected(frame: Frame, axes: Sequence[Axis], value: oir.Value, select: Combine, shape: Shape) -> oir.Value:
    """The index of each window's selected element, as int32; -1 in a window of only padding.

    Each element is compared to the one selected so far, in order, like XLA: with NaN, the order matters.
    """
    b = frame.builder
    low, high = [axis.low for axis in axes], [axis.high for axis in axes]
    assert value.dtype is not None
    inside = None
    if any((*low, *high)):
        inside = b.expand(b.scalar(True, DataType.BOOL), b.shape(value))
        inside = padded(b, inside, low, high, b.scalar(False, DataType.BOOL))
        value = padded(b, value, low, high, b.scalar(0, value.dtype))

    def seen(array: oir.Value, place: tuple[int, ...]) -> oir.Value:
        return taken(b, array, {i: axis.place(place[i], shape[i]) for i, axis in enumerate(axes)})

    first, *others = _places(axes)
    best, found = seen(value, first), b.scalar(0, DataType.INT32)
    any_inside = None
    if inside is not None:
        any_inside = seen(inside, first)
        found = b.where(any_inside, found, b.scalar(-1, DataType.INT32))
    for number, place in enumerate(others, 1):
        new = seen(value, place)
        (keeps,) = select([best], [new])
        if inside is not None and any_inside is not None:
            there = seen(inside, place)
            keeps = b.same_type("Or", b.same_type("Not", there), b.same_type("And", any_inside, keeps))
            any_inside = b.same_type("Or", any_inside, there)
        best = b.where(keeps, best, new)
        found = b.where(keeps, found, b.scalar(number, DataType.INT32))
    return b.expand(found, shape)


def _scattered(frame: Frame, op: Any, monoid: Monoid, axes: Sequence[Axis], places: oir.Value) -> oir.Value:
    b = frame.builder
    operand, source, initial = op.operands
    shape = frame.shape(operand)
    whole = tuple(size + (axis.low + axis.high) for size, axis in zip(shape, axes, strict=True))
    strides = [axis.stride for axis in axes]
    neutral = b.constant(monoid.neutral)

    def spread(value: oir.Value, fill: oir.Value) -> oir.Value:
        """Each window's number at its first element, with room for all its elements."""
        apart = interleaved(b, value, strides, fill)
        behind = [size - known for size, known in zip(whole, b.shape(apart), strict=True)]
        return padded(b, apart, [axis.size - 1 for axis in axes], behind, fill)

    values = spread(frame.full(source), neutral)
    places = spread(places, b.scalar(-1, DataType.INT32))
    result = b.expand(frame.compact(initial), whole)
    # Windows in order, which is the reverse order for their shared elements.
    for number, place in reversed(list(enumerate(_places(axes)))):
        cuts = {i: Cut(whole[i], axis.size - 1 - place[i], place[i]) for i, axis in enumerate(axes)}
        here = b.truth("Equal", taken(b, places, cuts), b.constant(np.asarray(number, np.int32)))
        result = monoid.apply(b, result, b.where(here, taken(b, values, cuts), neutral))
    low, high = [-axis.low for axis in axes], [-axis.high for axis in axes]
    return padded(b, result, low, high, frame.compact(initial))
