"""Pooling by the largest or smallest float, with ONNX's MaxPool if it is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size, shape_size
from swift_export.converter.rules.monoids import signs_of_zeros
from swift_export.converter.rules.reduce_extremes import extreme
from swift_export.converter.rules.spacing import Axis

__all__ = ["pooled_extremes"]

DataType = oir.DataType

#: Pools the extremes of windows, exactly.
Exact = Callable[[Builder, oir.Value], oir.Value]


def pooled_extremes(
    b: Builder, kind: str, value: oir.Value, axes: Sequence[Axis], shape: Shape, exact: Exact
) -> oir.Value | None:
    """The extremes of windows of float32 or float64, if MaxPool supports such windows; else None.

    MaxPool loses NaN and confuses zeros of different signs. Its result is right if the sum of all elements is finite,
    so that no element is NaN or infinite, and if the result has no zeros. Otherwise the file takes the branch
    ``exact``, which computes step by step and is much slower.
    """
    moving = [place for place, axis in enumerate(axes) if axis != Axis()]
    if not 1 <= len(moving) <= 3 or _edges([axes[p] for p in moving], [b.shape(value)[p] for p in moving]) is None:
        return None
    if 0 in b.shape(value):
        return None
    if math.prod(axis.size for axis in axes) < 4:
        return None

    def pool(builder: Builder, elements: oir.Value) -> oir.Value:
        return _max_pool(builder, kind, elements, axes, moving, shape)

    fast = pool(b, value)
    dtype = value.dtype
    assert dtype is not None
    everything = list(range(len(axes)))
    total = b.node("ReduceSum", [value, b.integers(everything)], dtype, (), keepdims=0)
    finite = b.truth("Less", b.same_type("Abs", total), b.scalar(math.inf, dtype))

    def signed(inner: Builder) -> oir.Value:
        zeros = inner.truth("Equal", fast, inner.scalar(0, dtype))
        any_zero = extreme(inner, "or", zeros, everything, ())
        return _either(
            inner, any_zero, lambda i: signs_of_zeros(i, kind, value, lambda v: pool(i, v)), lambda i: fast, shape
        )

    return _either(b, finite, signed, lambda i: exact(i, value), shape)


def _edges(axes: Sequence[Axis], lengths: Sequence[Size]) -> dict[str, Any] | None:
    """MaxPool's attributes for the padding; None if it does not support such windows.

    It needs no holes between elements, and at least one element in every window.
    """
    pads = [*(axis.low for axis in axes), *(axis.high for axis in axes)]
    if not all(isinstance(width, int) for width in pads):
        same = all(axis.is_same(length) for axis, length in zip(axes, lengths, strict=True))
        return {"auto_pad": "SAME_UPPER"} if same else None
    reaches = [axis.size for axis in axes] * 2
    fits = all(isinstance(w, int) and 0 <= w < size for w, size in zip(pads, reaches, strict=True))
    return {"pads": pads} if fits and all(axis.base_dilation == 1 for axis in axes) else None


def _max_pool(
    b: Builder, kind: str, value: oir.Value, axes: Sequence[Axis], moving: Sequence[int], shape: Shape
) -> oir.Value:
    """MaxPool over the last axes, with all others merged into the first."""
    others = [place for place in range(len(axes)) if place not in moving]
    order = [*others, *moving]
    lanes = shape_size([b.shape(value)[place] for place in others])
    value = b.transpose(value if kind == "maximum" else b.same_type("Neg", value), order)
    value = b.reshape(value, (lanes, 1, *b.shape(value)[len(others) :]))
    assert value.dtype is not None
    windows = [axes[place] for place in moving]
    edges = _edges(windows, b.shape(value)[2:])
    assert edges is not None
    found = b.node(
        "MaxPool",
        [value],
        value.dtype,
        (lanes, 1, *(shape[place] for place in moving)),
        kernel_shape=[axis.size for axis in windows],
        strides=[axis.stride for axis in windows],
        dilations=[axis.window_dilation for axis in windows],
        **edges,
    )
    found = b.reshape(found, tuple(shape[place] for place in order))
    found = b.transpose(found, [order.index(place) for place in range(len(axes))])
    return found if kind == "maximum" else b.same_type("Neg", found)


def _either(
    b: Builder,
    condition: oir.Value,
    then: Callable[[Builder], oir.Value],
    orelse: Callable[[Builder], oir.Value],
    shape: Shape,
) -> oir.Value:
    def branch(make: Callable[[Builder], oir.Value]) -> tuple[oir.Graph, oir.Value]:
        inner = b.nested()
        value = make(inner)
        return inner.body([], [value], "branch"), value

    (first, value), (second, _) = branch(then), branch(orelse)
    assert value.dtype is not None
    return b.node("If", [condition], value.dtype, shape, then_branch=first, else_branch=second)
