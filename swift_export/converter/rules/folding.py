"""Combines many elements by an associative binary op: all along an axis, or those in windows that slide along it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size
from swift_export.converter.rules.monoids import Combine
from swift_export.converter.rules.spacing import Axis, Cut, taken

__all__ = ["ONE_BY_ONE", "folded", "in_windows", "slid"]

#: Up to this number, elements are combined one after the other, like XLA on a CPU, if the order may matter.
ONE_BY_ONE = 64


def folded(b: Builder, group: Sequence[oir.Value], axis: int, length: int, combine: Combine) -> list[oir.Value]:
    """Combine all elements along an axis of known length >= 1, in order; the axis stays, with size 1."""
    group = list(group)
    while length > 1:
        half, odd = divmod(length, 2)
        left = [taken(b, v, {axis: Cut(half, 0, 1 + odd, 2)}) for v in group]
        right = [taken(b, v, {axis: Cut(half, 1, odd, 2)}) for v in group]
        pairs = combine(left, right)
        if odd:
            last = [taken(b, v, {axis: Cut(1, length - 1)}) for v in group]
            pairs = [_joined(b, *two, axis) for two in zip(pairs, last, strict=True)]
        group, length = pairs, half + odd
    return group


def _joined(b: Builder, x: oir.Value, y: oir.Value, axis: int) -> oir.Value:
    shape = list(b.shape(x))
    shape[axis] = shape[axis] + b.shape(y)[axis]
    assert x.dtype is not None
    return b.node("Concat", [x, y], x.dtype, tuple(shape), axis=axis)


def in_windows(
    b: Builder,
    group: Sequence[oir.Value],
    axes: Sequence[Axis],
    shape: Shape,
    combine: Combine,
    start: Sequence[oir.Value] | None = None,
) -> list[oir.Value]:
    """Combine the elements of each window one by one in order, beginning with ``start``; ``shape`` is the result's
    shape.
    """
    result = None if start is None else list(start)
    for places in itertools.product(*(range(axis.size) for axis in axes)):
        cuts = {i: axis.place(places[i], shape[i]) for i, axis in enumerate(axes)}
        part = [taken(b, value, cuts) for value in group]
        result = part if result is None else combine(result, part)
    assert result is not None
    return result


def slid(
    b: Builder, group: Sequence[oir.Value], place: int, axis: Axis, count: Size, combine: Combine
) -> list[oir.Value]:
    """Combine the elements of ``count`` windows that slide along one axis, in order.

    Each window is composed of windows of 1, 2, 4, ... elements, so the number of steps is logarithmic in its size.
    """

    def dense(values: Sequence[oir.Value], front: int, back: int) -> list[oir.Value]:
        rest = b.shape(values[0])[place] + -(front + back)
        return [taken(b, v, {place: Cut(rest, front, back)}) for v in values]

    # Windows of powers of two up to the size, at every element where they fit.
    powers, width = {1: list(group)}, 1
    while 2 * width < axis.size:
        shift = width * axis.window_dilation
        powers[2 * width] = combine(dense(powers[width], 0, shift), dense(powers[width], shift, 0))
        width *= 2
    result: list[oir.Value] | None = None
    start = 0
    while start < axis.size:
        width = max(w for w in powers if w <= axis.size - start)
        # Each part omits positions at which the whole window would extend beyond the end.
        front, back = start * axis.window_dilation, (axis.size - start - width) * axis.window_dilation
        part = [taken(b, v, {place: Cut(count, front, back, axis.stride)}) for v in powers[width]]
        result = part if result is None else combine(result, part)
        start += width
    assert result is not None
    return result
