"""Ops that move all elements: reshape, transpose, broadcast, concatenate, reverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.dims import Shape, Size, exact_quotient, shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import static_shape

__all__: list[str] = []


def _reshape(frame: Frame, op: Any, shape: Shape) -> oir.Value:
    frame.shapes[op.results[0]] = shape
    value = frame.compact(op.operands[0])
    if frame.builder.shape(value) == ():
        return value
    return frame.builder.reshape(frame.full(op.operands[0]), shape)


@rule("stablehlo.reshape")
def reshape(frame: Frame, op: Any) -> oir.Value:
    """The same elements in the same order, in a static shape."""
    return _reshape(frame, op, tuple(op.results[0].type.shape))


@rule("stablehlo.dynamic_reshape")
def dynamic_reshape(frame: Frame, op: Any) -> oir.Value:
    """reshape with computed sizes; a single one that depends on data is inferred by ONNX."""
    sizes = frame.known_elements(op.operands[1])
    if sizes is not None:
        return _reshape(frame, op, tuple(sizes))
    static = static_shape(op.results[0])
    if static.count(None) != 1:
        return _reshape(frame, op, frame.sizes(op, op.operands[1], "output sizes"))
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
    """Align the operand's axes for ONNX's broadcasting, which repeats the elements."""
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
    """broadcast_in_dim with computed sizes."""
    shape = frame.sizes(op, op.operands[1], "output sizes")
    operand = frame.shape(op.operands[0])
    axes = list(op.attributes["broadcast_dimensions"])
    if all(size in (1, shape[axis]) for axis, size in zip(axes, operand, strict=True)):
        return _broadcast(frame, op, shape)
    # A symbolic size may be 1 or the full size; ONNX's Expand takes both.
    b = frame.builder
    value = b.transpose(frame.full(op.operands[0]), sorted(range(len(axes)), key=axes.__getitem__))
    placed = [operand[axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))]
    value = b.reshape(value, tuple(placed))
    kind = b.carrier("Expand", frame.dtype(op.results[0]))
    result = b.node("Expand", [b.cast(value, kind), b.sizes(shape)], kind, shape)
    if any(b.is_from_data(size) for size in (*shape, *operand)):
        # Expand would keep the operand's size where the computed one is 1.
        found = b.node("Shape", [result], oir.DataType.INT64, (len(shape),))
        differences = b.same_type("Abs", b.same_type("Sub", found, b.sizes(shape)))
        total = b.node("ReduceSum", [differences, b.integers([0])], oir.DataType.INT64, (), keepdims=0)
        b.require(b.truth("Equal", total, b.scalar(0, oir.DataType.INT64)))
    return b.uncarried(result, frame.dtype(op.results[0]))


@rule("stablehlo.concatenate", attributes=["dimension"])
def concatenate(frame: Frame, op: Any) -> oir.Value:
    """Concatenate operands."""
    axis = op.attributes["dimension"].value
    shapes = [frame.shape(v) for v in op.operands]
    total: Size = 0
    for shape in shapes:
        total = total + shape[axis]
    out = list(shapes[0])
    out[axis] = total
    frame.shapes[op.results[0]] = frame.result_shape(op, tuple(out))
    parts = [v for v in op.operands if frame.shape(v)[axis] != 0] or [op.operands[0]]
    if len(parts) == 1:
        return frame.compact(parts[0])
    return frame.builder.node(
        "Concat", [frame.full(v) for v in parts], frame.dtype(op.results[0]), tuple(out), axis=axis
    )


@rule("stablehlo.reverse", attributes=["dimensions"])
def reverse(frame: Frame, op: Any) -> oir.Value:
    """Reverse axes."""
    b = frame.builder
    axes = list(op.attributes["dimensions"])
    value = frame.full(op.operands[0])
    last, first = b.integers([-1] * len(axes)), b.integers([np.iinfo(np.int64).min] * len(axes))
    return b.node("Slice", [value, last, first, b.integers(axes), last], frame.dtype(op.results[0]), b.shape(value))
