"""reduce_window: combines the elements in sliding windows, including cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import constant_array
from swift_export.converter.rules.folding import ONE_BY_ONE, in_windows, slid
from swift_export.converter.rules.monoids import Combine, Monoid, combination, monoids, signs_of_zeros
from swift_export.converter.rules.pooling import pooled_extremes, pooled_sums
from swift_export.converter.rules.running_values import Running
from swift_export.converter.rules.spacing import Axis, interleaved, padded
from swift_export.converter.rules.terms import FLOATS

__all__ = ["read_axes", "reduced"]

DataType = oir.DataType


@rule(
    "stablehlo.reduce_window",
    attributes=["window_dimensions", "window_strides", "base_dilations", "window_dilations", "padding"],
)
def reduce_window(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Combine the elements in each window, for each operand separately or for all of them by one body.

    By StableHLO, padding and holes hold the initial value. If that is not neutral, which StableHLO leaves open, a body
    of one op ignores them, as in XLA.
    """
    axes = read_axes(op, len(frame.shape(op.operands[0])))
    return reduced(frame, op, list(op.operands), axes, op.regions[0])


def reduced(frame: Frame, op: Any, group: Sequence[Any], axes: Sequence[Axis], region: Any) -> Sequence[oir.Value]:
    """The elements of windows combined by a body; ``group`` has the operands, then an initial value for each."""
    b = frame.builder
    count = len(group) // 2
    operands, initial = group[:count], [frame.compact(v) for v in group[count:]]
    before = frame.shape(operands[0])
    counts = [axis.count(length, b.facts) for axis, length in zip(axes, before, strict=True)]
    shape = frame.result_shape(op, tuple(counts))
    for result in op.results:
        frame.shapes[result] = shape
    if 0 in shape:
        return [b.expand(start, shape) for start in initial]
    values = [frame.full(v) for v in operands]
    single = monoids(region, [frame.dtype(v) for v in operands])
    if single is not None:
        groups = zip(single, values, initial, strict=True)
        return [_pooled(b, monoid, value, start, axes, shape) for monoid, value, start in groups]
    combine = combination(frame, op, region)
    running = Running.of(axes, before)
    if running is not None:
        return combine(initial, running.doubled(frame, values, lambda inner: combination(inner, op, region)))
    spread = [_spread(b, value, start, axes) for value, start in zip(values, initial, strict=True)]
    if _is_small(axes):
        return in_windows(b, spread, axes, shape, combine, initial)
    return combine(initial, _slid(b, spread, axes, shape, combine))


def read_axes(op: Any, rank: int) -> list[Axis]:
    """The window's movement along each axis."""

    def numbers(name: str) -> list[int]:
        return list(op.attributes[name]) if name in op.attributes else [1] * rank

    padding = constant_array(op.attributes["padding"]) if "padding" in op.attributes else np.zeros((), np.int64)
    edges = np.broadcast_to(padding, (rank, 2)).tolist()
    names = ("window_dimensions", "window_strides", "base_dilations", "window_dilations")
    return [
        Axis(size, stride, low, high, base, window)
        for size, stride, base, window, (low, high) in zip(*map(numbers, names), edges, strict=True)
    ]


def _pooled(
    b: Builder, monoid: Monoid, value: oir.Value, start: oir.Value, axes: Sequence[Axis], shape: Shape
) -> oir.Value:
    """One operand, combined by one op."""

    def plain(x: Sequence[oir.Value], y: Sequence[oir.Value]) -> list[oir.Value]:
        return [monoid.plain(b, x[0], y[0])]

    def spread(b: Builder, one: oir.Value) -> list[oir.Value]:
        assert one.dtype is not None
        return [_spread(b, one, b.constant(monoid.neutral.astype(one.dtype.numpy())), axes)]

    def pool(b: Builder, one: oir.Value) -> oir.Value:
        return _slid(b, spread(b, one), axes, shape, lambda x, y: [monoid.plain(b, x[0], y[0])])[0]

    def extremes(b: Builder, one: oir.Value) -> oir.Value:
        return signs_of_zeros(b, monoid.kind, one, lambda v: pool(b, v))

    first = None if monoid.is_neutral(start) else [start]
    one_by_one = monoid.dtype in FLOATS and not monoid.is_float_extreme and _is_small(axes)
    rounds_alike = first is None and monoid.wide == monoid.dtype
    total = _running_sum(b, monoid, value, axes) if rounds_alike or not one_by_one else None
    if total is None and monoid.kind == "add" and math.prod(axis.size / axis.stride for axis in axes) <= ONE_BY_ONE:
        total = pooled_sums(b, value, axes, shape)
    if total is None and one_by_one:
        each = Running.of(axes, b.shape(value)) if first is None else None
        if each is not None and not each.backwards:
            return each.one_by_one(b, [value], plain)[0]
        return in_windows(b, spread(b, value), axes, shape, plain, first)[0]
    if total is None:
        wide = b.cast(value, monoid.wide)
        if monoid.is_float_extreme:
            total = pooled_extremes(b, monoid.kind, wide, axes, shape)
            total = extremes(b, wide) if total is None else total
        else:
            total = pool(b, wide)
        total = b.cast(total, monoid.dtype)
    return total if first is None else monoid.apply(b, start, total)


def _is_small(axes: Sequence[Axis]) -> bool:
    return math.prod(axis.size for axis in axes) <= ONE_BY_ONE


def _spread(b: Builder, value: oir.Value, fill: oir.Value, axes: Sequence[Axis]) -> oir.Value:
    """The operand with holes and padding."""
    apart = interleaved(b, value, [axis.base_dilation for axis in axes], fill)
    return padded(b, apart, [axis.low for axis in axes], [axis.high for axis in axes], fill)


def _slid(
    b: Builder, group: Sequence[oir.Value], axes: Sequence[Axis], shape: Shape, combine: Combine
) -> list[oir.Value]:
    """Combine axis by axis, the last one first, so that the elements of a window keep their order."""
    found = list(group)
    for place, axis in reversed(list(enumerate(axes))):
        found = slid(b, found, place, axis, shape[place], combine)
    return found


def _running_sum(b: Builder, monoid: Monoid, value: oir.Value, axes: Sequence[Axis]) -> oir.Value | None:
    """CumSum, if each window holds all elements up to a position, or from a position on."""
    running = Running.of(axes, b.shape(value))
    if monoid.kind != "add" or monoid.dtype == DataType.BOOL or running is None:
        return None
    kind = b.carrier("CumSum", monoid.wide)
    index = b.constant(np.asarray(running.axis, np.int64))
    total = b.node("CumSum", [b.cast(value, kind), index], kind, b.shape(value), reverse=int(running.backwards))
    return b.cast(total, monoid.dtype)
