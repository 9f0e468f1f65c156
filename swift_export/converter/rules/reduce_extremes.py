"""Maxima and minima along axes for every type, including truth values."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size, shape_size

__all__ = ["along", "axes_last", "extreme", "ordered", "places_of_extremes"]

DataType = oir.DataType

EXTREMES = {"maximum": "ReduceMax", "minimum": "ReduceMin", "or": "ReduceMax", "and": "ReduceMin"}


def along(b: Builder, op_type: str, value: oir.Value, axes: Sequence[int], shape: Shape) -> oir.Value:
    """An ONNX reduction in its carrier; ``shape`` is the result's shape."""
    assert value.dtype is not None
    kind = b.carrier(op_type, value.dtype)
    reduced = b.node(op_type, [b.cast(value, kind), b.integers(axes)], kind, shape, keepdims=0)
    return b.uncarried(reduced, value.dtype)


def extreme(b: Builder, kind: str, value: oir.Value, axes: Sequence[int], shape: Shape) -> oir.Value:
    """The maximum or minimum along axes; for truth values, these are "or" and "and".

    For floats, ReduceMax and ReduceMin are used as they are: ``passes.extremes`` makes them keep NaN and zeros' signs.
    """
    assert value.dtype is not None
    if value.dtype not in (DataType.INT64, DataType.UINT64, DataType.UINT32):
        return along(b, EXTREMES[kind], value, axes, shape)
    # ONNX Runtime reduces 64-bit numbers wrongly if only their lower halves differ, but finds their indices.
    joined, _ = axes_last(b, value, axes)
    places = places_of_extremes(b, kind, joined, len(b.shape(joined)) - 1, keepdims=True)
    found = b.node("GatherElements", [joined, places], value.dtype, b.shape(places), axis=-1)
    return b.reshape(found, shape)


def places_of_extremes(b: Builder, kind: str, value: oir.Value, axis: int, *, keepdims: bool = False) -> oir.Value:
    """The index of the first extreme element along an axis, as int64.

    For floats, ``passes.argument_extremes`` makes NaN the extreme.
    """
    op_type = "ArgMax" if kind in ("maximum", "or") else "ArgMin"
    value = ordered(b, value)
    assert value.dtype is not None
    shape = b.shape(value)
    left = (*shape[:axis], *((1,) if keepdims else ()), *shape[axis + 1 :])
    carried = b.cast(value, b.carrier(op_type, value.dtype))
    flags = {"axis": axis, "keepdims": int(keepdims), "select_last_index": 0}
    return b.node(op_type, [carried], DataType.INT64, left, **flags)


def ordered(b: Builder, value: oir.Value) -> oir.Value:
    """A value of the same order in a type that ONNX Runtime can order."""
    if value.dtype != DataType.UINT64:
        return value
    # With the highest bit flipped, unsigned numbers become signed ones in the same order.
    return b.same_type("Add", b.cast(value, DataType.INT64), b.scalar(-(2**63), DataType.INT64))


def axes_last(b: Builder, value: oir.Value, axes: Sequence[int]) -> tuple[oir.Value, Size]:
    """The axes merged into one, behind the others; and its length."""
    kept = [axis for axis in range(len(b.shape(value))) if axis not in axes]
    moved = b.transpose(value, [*kept, *sorted(axes)])
    sizes = b.shape(moved)
    length = shape_size(sizes[len(kept) :])
    return b.reshape(moved, (*sizes[: len(kept)], length)), length
