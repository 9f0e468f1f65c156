"""Slices, padding and holes along axes of values, for rules with windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size
from swift_export.converter.size_functions import Facts, floordiv, maximum

__all__ = ["Axis", "Cut", "filled", "interleaved", "padded", "reversed_along", "taken"]

#: The end of a slice without an upper bound.
END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Axis:
    """A window's movement along an axis, as in StableHLO's reduce_window and convolution."""

    size: int = 1
    stride: int = 1
    low: Size = 0
    high: Size = 0
    base_dilation: int = 1
    window_dilation: int = 1

    @property
    def reach(self) -> int:
        """The number of elements from the window's first to its last."""
        return (self.size - 1) * self.window_dilation + 1

    def place(self, index: int, count: Size) -> Cut:
        """The elements at one place of the window, over all ``count`` windows."""
        front = index * self.window_dilation
        return Cut(count, front, self.reach - 1 - front, self.stride)

    def spread(self, length: Size) -> Size:
        """The number of elements of the axis after holes and padding."""
        dilated = 0 if length == 0 else (length + -1) * self.base_dilation + 1
        return dilated + (self.low + self.high)

    def count(self, length: Size, facts: Facts) -> Size:
        """The number of windows on an axis of this length."""
        return maximum(floordiv(self.spread(length) - self.reach, self.stride) + 1, 0, facts)

    def is_same(self, length: Size) -> bool:
        """Whether ONNX's SAME_UPPER has these widths: a window for each stride that begins on the axis, and the odd
        element of the padding behind. Each window then has an element of the axis.
        """
        count = -floordiv(-length, self.stride)
        whole = maximum((count - 1) * self.stride + self.reach - length, 0)
        edges = floordiv(whole, 2), whole - floordiv(whole, 2)
        return self.base_dilation == self.window_dilation == 1 and (self.low, self.high) == edges


class Cut(NamedTuple):
    """Every ``step``-th element along an axis without its first ``front`` and last ``back``: ``size`` elements."""

    size: Size
    front: int = 0
    back: int = 0
    step: int = 1


def taken(b: Builder, value: oir.Value, cuts: Mapping[int, Cut]) -> oir.Value:
    """A value sliced along some axes."""
    cuts = {axis: cut for axis, cut in cuts.items() if (cut.front, cut.back, cut.step) != (0, 0, 1)}
    if not cuts:
        return value
    bounds = (
        [cut.front for cut in cuts.values()],
        [-cut.back if cut.back else END for cut in cuts.values()],
        list(cuts),
        [cut.step for cut in cuts.values()],
    )
    assert value.dtype is not None
    shape = tuple(cuts[axis].size if axis in cuts else size for axis, size in enumerate(b.shape(value)))
    return b.node("Slice", [value, *map(b.integers, bounds)], value.dtype, shape)


def reversed_along(b: Builder, value: oir.Value, axes: Sequence[int]) -> oir.Value:
    """Reverse axes."""
    if not axes:
        return value
    last, first = b.integers([-1] * len(axes)), b.integers([np.iinfo(np.int64).min] * len(axes))
    assert value.dtype is not None
    return b.node("Slice", [value, last, first, b.integers(axes), last], value.dtype, b.shape(value))


def padded(b: Builder, value: oir.Value, low: Sequence[Size], high: Sequence[Size], fill: oir.Value) -> oir.Value:
    """Put ``fill``, a scalar, before and after each axis; negative widths remove elements."""
    if not any((*low, *high)):
        return value
    shape = tuple(size + (a + c) for size, a, c in zip(b.shape(value), low, high, strict=True))
    return filled(b, value, b.sizes([*low, *high]), fill, shape)


def filled(b: Builder, value: oir.Value, widths: oir.Value, fill: oir.Value, shape: Shape) -> oir.Value:
    """Pad by a vector of the widths before, then those after every axis.

    Of every axis: between two Transposes, ONNX Runtime reorders the widths as if Pad had no operand that lists axes.
    """
    assert value.dtype is not None
    kind = b.carrier("Pad", value.dtype)
    return b.uncarried(b.node("Pad", [b.cast(value, kind), widths, b.cast(fill, kind)], kind, shape), value.dtype)


def interleaved(b: Builder, value: oir.Value, factors: Sequence[int], fill: oir.Value) -> oir.Value:
    """Put ``fill`` between the elements along each axis, so that they are ``factor`` apart."""
    axes = [axis for axis, factor in enumerate(factors) if factor != 1 and b.shape(value)[axis] not in (0, 1)]
    if not axes:
        return value
    shape = b.shape(value)
    # Each of these axes is followed by a separate one for the holes; the last element's holes are removed at the end.
    apart = [size for axis, n in enumerate(shape) for size in ((n, 1) if axis in axes else (n,))]
    behind = [axis + place + 1 for place, axis in enumerate(axes)]
    holes = [0] * len(apart)
    for axis, place in zip(axes, behind, strict=True):
        holes[place] = factors[axis] - 1
    spread = padded(b, b.reshape(value, tuple(apart)), [0] * len(apart), holes, fill)
    whole = tuple(size * factors[axis] if axis in axes else size for axis, size in enumerate(shape))
    ends = [1 - factors[axis] if axis in axes else 0 for axis in range(len(shape))]
    return padded(b, b.reshape(spread, whole), [0] * len(shape), ends, fill)
