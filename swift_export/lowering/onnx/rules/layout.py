"""Ops that move elements: reshape, transpose, broadcast, slice, concatenate, pad, reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.lowering.onnx.dims import Dim, Shape, Size, exact_quotient, shape_size
from swift_export.lowering.onnx.frame import Frame, rule
from swift_export.lowering.onnx.module import static_shape

__all__: list[str] = []


def _reshape(frame: Frame, op: Any, shape: Shape) -> oir.Value:
    frame.shapes[op.results[0]] = shape
    value = frame.compact(op.operands[0])
    if frame.builder.shape(value) == ():
        return value
    return frame.builder.reshape(frame.full(op.operands[0]), shape)


@rule("stablehlo.reshape")
def reshape(frame: Frame, op: Any) -> oir.Value:
    """Same elements in the same order; the type is static."""
    return _reshape(frame, op, tuple(op.results[0].type.shape))


@rule("stablehlo.dynamic_reshape")
def dynamic_reshape(frame: Frame, op: Any) -> oir.Value:
    """Same, with sizes that are computed; of those that depend on data at most one, which ONNX infers."""
    contents = frame.contents(op.operands[1])
    if contents is not None:
        return _reshape(frame, op, tuple(contents))
    static = static_shape(op.results[0])
    if static.count(None) != 1:
        raise frame.error(op, "output sizes depend on data")
    total = shape_size(frame.shape(op.operands[0]))
    rest = shape_size([s for s in static if s is not None])
    unknown = exact_quotient(total, rest) or frame.builder.fresh_symbol()
    return _reshape(frame, op, tuple(unknown if s is None else s for s in static))


@rule("stablehlo.transpose", attributes=["permutation"])
def transpose(frame: Frame, op: Any) -> oir.Value:
    """Reorder axes."""
    perm = list(op.attributes["permutation"])
    shape = frame.shape(op.operands[0])
    frame.shapes[op.results[0]] = tuple(shape[p] for p in perm)
    if frame.builder.shape(frame.compact(op.operands[0])) == ():
        return frame.compact(op.operands[0])
    return frame.builder.transpose(frame.aligned(op.operands[0]), perm)


def _broadcast(frame: Frame, op: Any, shape: Shape) -> oir.Value:
    """Put the operand's axes where ONNX's broadcasting finds them; the repeating is left to ONNX."""
    axes = list(op.attributes["broadcast_dimensions"])
    frame.shapes[op.results[0]] = shape
    value = frame.compact(op.operands[0])
    if axes != sorted(axes):
        order = sorted(range(len(axes)), key=axes.__getitem__)
        value = frame.builder.transpose(frame.aligned(op.operands[0]), order)
        axes = sorted(axes)
    before = frame.builder.shape(value)
    axes = axes[len(axes) - len(before) :]
    if not axes:
        return value
    placed: list[Size] = [1] * (len(shape) - axes[0])
    for axis, size in zip(axes, before, strict=True):
        placed[axis - axes[0]] = size
    return frame.builder.reshape(value, tuple(placed))


@rule("stablehlo.broadcast_in_dim", attributes=["broadcast_dimensions"])
def broadcast_in_dim(frame: Frame, op: Any) -> oir.Value:
    """Repeat along new axes and along axes of size 1."""
    return _broadcast(frame, op, tuple(op.results[0].type.shape))


@rule(
    "stablehlo.dynamic_broadcast_in_dim",
    attributes=["broadcast_dimensions", "known_expanding_dimensions", "known_nonexpanding_dimensions"],
)
def dynamic_broadcast_in_dim(frame: Frame, op: Any) -> oir.Value:
    """Same, with sizes that are computed."""
    shape = tuple(frame.integers(op, op.operands[1], "output sizes"))
    operand = frame.shape(op.operands[0])
    for axis, size in zip(list(op.attributes["broadcast_dimensions"]), operand, strict=True):
        # An unknown size may be 1 or the whole: ONNX takes both, but elementwise ops could then differ in rank.
        if size not in (1, shape[axis]):
            raise frame.error(op, f"axis {axis} of size {size} to {shape[axis]}: it is unknown whether it expands")
    return _broadcast(frame, op, shape)


def _slice(frame: Frame, op: Any, starts: Sequence[Size], limits: Sequence[Size], strides: Sequence[Size]) -> oir.Value:
    b = frame.builder
    shape = frame.shape(op.operands[0])
    axes, out = [], list(shape)
    steps = frame.static(op, strides, "strides")
    for axis, (start, limit, step, size) in enumerate(zip(starts, limits, steps, shape, strict=True)):
        if (start, limit, step) == (0, size, 1):
            continue
        axes.append(axis)
        span = limit - start if isinstance(limit, Dim) else limit + (start * -1)
        if isinstance(span, int):
            out[axis] = -(-span // step)
        else:
            out[axis] = span if step == 1 else b.fresh_symbol()
    frame.shapes[op.results[0]] = frame.result_shape(op, tuple(out))
    value = frame.aligned(op.operands[0])
    # A compact axis is sliced by keeping its one element.
    axes = [a for a in axes if b.shape(value)[a] != 1 or shape[a] == 1]
    if not axes:
        return value
    result = tuple(frame.shape(op.results[0])[a] if a in axes else s for a, s in enumerate(b.shape(value)))
    inputs = [
        value,
        b.sizes([starts[a] for a in axes]),
        b.sizes([limits[a] for a in axes]),
        b.integers(axes),
        b.integers([steps[a] for a in axes]),
    ]
    return b.node("Slice", inputs, frame.dtype(op.results[0]), result)


@rule("stablehlo.slice", attributes=["start_indices", "limit_indices", "strides"])
def static_slice(frame: Frame, op: Any) -> oir.Value:
    """Start, limit and stride an axis."""
    return _slice(frame, op, *[list(op.attributes[k]) for k in ("start_indices", "limit_indices", "strides")])


@rule("stablehlo.real_dynamic_slice")
def real_dynamic_slice(frame: Frame, op: Any) -> oir.Value:
    """The same with computed bounds. JAX writes it for every slice beside a dimension of unknown size."""
    return _slice(frame, op, *[frame.integers(op, v, "bounds") for v in list(op.operands)[1:]])


@rule("stablehlo.concatenate", attributes=["dimension"])
def concatenate(frame: Frame, op: Any) -> oir.Value:
    """Put operands one behind the other."""
    axis = op.attributes["dimension"].value
    shapes = [frame.shape(v) for v in op.operands]
    total: Size = 0
    for shape in shapes:
        total = total + shape[axis]
    out = list(shapes[0])
    out[axis] = total
    frame.shapes[op.results[0]] = frame.result_shape(op, tuple(out))
    return frame.builder.node(
        "Concat", [frame.full(v) for v in op.operands], frame.dtype(op.results[0]), tuple(out), axis=axis
    )


def _pad(frame: Frame, op: Any, low: Sequence[Size], high: Sequence[Size], interior: Sequence[Size]) -> oir.Value:
    b = frame.builder
    low, high = frame.static(op, low, "edge_padding_low"), frame.static(op, high, "edge_padding_high")
    if any(frame.static(op, interior, "interior_padding")) or min([0, *low, *high]) < 0:
        raise frame.error(op, "interior or negative padding: the op's rule pads the edges only")
    out = tuple(s + a + c for s, a, c in zip(frame.shape(op.operands[0]), low, high, strict=True))
    axes = [i for i, (a, c) in enumerate(zip(low, high, strict=True)) if a or c]
    if not axes:
        return frame.compact(op.operands[0])
    pads = b.integers([*[low[a] for a in axes], *[high[a] for a in axes]])
    inputs = [frame.full(op.operands[0]), pads, frame.full(op.operands[1]), b.integers(axes)]
    return b.node("Pad", inputs, frame.dtype(op.results[0]), out, mode="constant")


@rule("stablehlo.pad", attributes=["edge_padding_low", "edge_padding_high", "interior_padding"])
def pad(frame: Frame, op: Any) -> oir.Value:
    """Put a value around the edges."""
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    return _pad(frame, op, *[list(op.attributes[k]) for k in names])


@rule("stablehlo.dynamic_pad")
def dynamic_pad(frame: Frame, op: Any) -> oir.Value:
    """The same with computed widths."""
    return _pad(frame, op, *[frame.integers(op, v, "widths") for v in list(op.operands)[2:]])


@rule("stablehlo.reverse", attributes=["dimensions"])
def reverse(frame: Frame, op: Any) -> oir.Value:
    """Turn axes round."""
    b = frame.builder
    axes = list(op.attributes["dimensions"])
    value = frame.full(op.operands[0])
    last, first = b.integers([-1] * len(axes)), b.integers([np.iinfo(np.int64).min] * len(axes))
    return b.node("Slice", [value, last, first, b.integers(axes), last], frame.dtype(op.results[0]), b.shape(value))
