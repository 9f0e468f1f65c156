"""Pooling by the largest or smallest float, with ONNX's MaxPool if it is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, shape_size
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
    if not 1 <= len(moving) <= 3 or not all(_fits(axes[place]) for place in moving) or 0 in b.shape(value):
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


def _fits(axis: Axis) -> bool:
    """Whether MaxPool supports such windows: no holes between elements, and at least one element in every window."""
    return axis.base_dilation == 1 and 0 <= axis.low < axis.size and 0 <= axis.high < axis.size


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
    found = b.node(
        "MaxPool",
        [value],
        value.dtype,
        (lanes, 1, *(shape[place] for place in moving)),
        kernel_shape=[axis.size for axis in windows],
        strides=[axis.stride for axis in windows],
        dilations=[axis.window_dilation for axis in windows],
        pads=[*(axis.low for axis in windows), *(axis.high for axis in windows)],
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
