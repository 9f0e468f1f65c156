"""pad: around the edges, between elements, and cropping by negative padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.spacing import filled, padded
from swift_export.converter.size_functions import least, maximum, most

__all__: list[str] = []


@rule("stablehlo.pad", attributes=["edge_padding_low", "edge_padding_high", "interior_padding"])
def pad(frame: Frame, op: Any) -> oir.Value:
    """Put a value around the edges and between elements; a negative width crops the edge."""
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    return _pad(frame, op, *[list(op.attributes[k]) for k in names])


@rule("stablehlo.dynamic_pad")
def dynamic_pad(frame: Frame, op: Any) -> oir.Value:
    """pad with computed widths."""
    return _pad(frame, op, *[frame.integers(op, v, "widths") for v in list(op.operands)[2:]])


def _pad(frame: Frame, op: Any, low: Sequence[Size], high: Sequence[Size], interior: Sequence[Size]) -> oir.Value:
    b = frame.builder
    shape = frame.shape(op.operands[0])
    # An axis with fewer than two elements has no gaps.
    between = [0 if s in (0, 1) else w for s, w in zip(shape, frame.static(op, interior, "widths"), strict=True)]
    # The last element is followed by filling too, which is removed.
    high = [c - w for c, w in zip(high, between, strict=True)]
    out = tuple(s * (1 + w) + a + c for s, w, a, c in zip(shape, between, low, high, strict=True))
    frame.shapes[op.results[0]] = out
    if not any((*low, *high, *between)):
        return frame.compact(op.operands[0])
    dtype = frame.dtype(op.results[0])
    kind = b.carrier("Pad", dtype)
    value, filling = b.cast(frame.full(op.operands[0]), kind), b.cast(frame.full(op.operands[1]), kind)
    value = _spread(b, value, filling, between)
    # Widening comes first: cropping more than an axis holds leaves filling from the other edge.
    return b.uncarried(_crop(b, _widen(b, value, filling, low, high), low, high, out), dtype)


def _spread(b: Builder, value: oir.Value, filling: oir.Value, between: Sequence[int]) -> oir.Value:
    """Put fillings behind every element along an axis, first as a separate axis, which is then merged."""
    shape = b.shape(value)
    spread = [a for a, w in enumerate(between) if w]
    if not spread:
        return value
    axes = [a + i + 1 for i, a in enumerate(spread)]
    apart: Shape = tuple(s for a, size in enumerate(shape) for s in ((size, 1) if a in spread else (size,)))
    holes = [between[spread[axes.index(a)]] if a in axes else 0 for a in range(len(apart))]
    value = padded(b, b.reshape(value, apart), [0] * len(apart), holes, filling)
    return b.reshape(value, tuple(s * (1 + w) for s, w in zip(shape, between, strict=True)))


def _widen(b: Builder, value: oir.Value, filling: oir.Value, low: Sequence[Size], high: Sequence[Size]) -> oir.Value:
    """Put fillings around the edges with a positive width."""
    if not any(_may_be_positive(b, w) for w in (*low, *high)):
        return value
    shape = list(b.shape(value))
    for a in range(len(shape)):
        for width in (low[a], high[a]):
            shape[a] = shape[a] + maximum(width, 0)
    return filled(b, value, _positive_part(b, [*low, *high]), filling, tuple(shape))


def _crop(b: Builder, value: oir.Value, low: Sequence[Size], high: Sequence[Size], out: Shape) -> oir.Value:
    """Crop the edges with a negative width."""
    axes = [a for a, edges in enumerate(zip(low, high, strict=True)) if any(_may_be_negative(b, w) for w in edges)]
    if not axes:
        return value
    starts = _positive_part(b, [-low[a] for a in axes])
    ends = b.same_type("Add", starts, b.sizes([out[a] for a in axes]))
    assert value.dtype is not None
    return b.node("Slice", [value, starts, ends, b.integers(axes), b.integers([1] * len(axes))], value.dtype, out)


def _positive_part(b: Builder, widths: Sequence[Size]) -> oir.Value:
    return b.sizes([maximum(width, 0) for width in widths])


def _may_be_positive(b: Builder, width: Size) -> bool:
    return most(width, b.facts.floors) > 0


def _may_be_negative(b: Builder, width: Size) -> bool:
    return least(width, b.facts.floors) < 0
