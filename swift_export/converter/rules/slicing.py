"""Slices with fixed or computed bounds, and their updates in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, known
from swift_export.converter.dims import Shape, Size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.loop_rows import scalar
from swift_export.converter.rules.indices import as_index, as_int64, clamped, constant_elements
from swift_export.converter.shape_arithmetic import always
from swift_export.converter.size_functions import floordiv

__all__ = ["cut", "first_elements"]


def cut(
    b: Builder,
    value: oir.Value,
    axes: Sequence[int],
    starts: oir.Value,
    sizes: Sequence[Size],
    *,
    inside: bool = False,
) -> oir.Value:
    """A slice of a value, with one of ``sizes`` per axis: along ``axes`` it begins at ``starts`` (a vector of int32 or
    int64), moved inside if it would extend beyond the end, unless all are ``inside``; other axes are complete.
    """
    shape = b.shape(value)
    partial = [i for i, a in enumerate(axes) if sizes[a] != shape[a]]
    if not partial:
        return value
    if len(partial) < len(axes):
        starts = _chosen(b, starts, partial)
    axes = [axes[i] for i in partial]
    elements = constant_elements(starts)
    starts = starts if elements is None else b.constant(elements.reshape(-1))
    starts = starts if inside else clamped(b, starts, [shape[a] - sizes[a] for a in axes])
    if len(axes) == 1 and sizes[axes[0]] == 1 and known(starts) is None:
        assert value.dtype is not None
        row = tuple(1 if a == axes[0] else s for a, s in enumerate(shape))
        return b.node("Gather", [value, starts], value.dtype, row, axis=axes[0])
    starts = as_int64(b, starts)
    return _slice(b, value, axes, starts, _ends(b, starts, [sizes[a] for a in axes]), sizes)


def first_elements(b: Builder, value: oir.Value, sizes: Sequence[Size]) -> oir.Value:
    """The first elements along each axis, ``sizes`` of them."""
    axes = [a for a, s in enumerate(b.shape(value)) if s != sizes[a]]
    if not axes:
        return value
    return _slice(b, value, axes, b.integers([0] * len(axes)), b.sizes([sizes[a] for a in axes]), sizes)


def _slice(
    b: Builder, value: oir.Value, axes: Sequence[int], starts: oir.Value, ends: oir.Value, sizes: Sequence[Size]
) -> oir.Value:
    assert value.dtype is not None
    shape = tuple(sizes[a] if a in axes else s for a, s in enumerate(b.shape(value)))
    steps = b.integers([1] * len(axes))
    return b.node("Slice", [value, starts, ends, b.integers(axes), steps], value.dtype, shape)


def _ends(b: Builder, starts: oir.Value, sizes: Sequence[Size]) -> oir.Value:
    length = b.sizes(sizes)
    first, count = known(starts), known(length)
    if first is not None and count is not None:
        return b.constant(first + count)
    return b.same_type("Add", starts, length)


def _chosen(b: Builder, vector: oir.Value, places: Sequence[int]) -> oir.Value:
    elements = known(vector)
    if elements is not None:
        return b.constant(elements[list(places)])
    assert vector.dtype is not None
    return b.node("Gather", [vector, b.integers(places)], vector.dtype, (len(places),), axis=0)


def _start(frame: Frame, scalar: Any) -> oir.Value:
    """A scalar operand as a vector of one index."""
    b = frame.builder
    value = frame.full(scalar)
    elements = known(value)
    if elements is not None:
        return as_index(b, b.constant(elements.reshape(1)))
    return as_index(b, b.reshape(value, (1,)))


@rule("stablehlo.slice", attributes=["start_indices", "limit_indices", "strides"])
def static_slice(frame: Frame, op: Any) -> oir.Value:
    """A slice by start, limit and stride per axis."""
    return _strided(frame, op, *[list(op.attributes[k]) for k in ("start_indices", "limit_indices", "strides")])


@rule("stablehlo.real_dynamic_slice")
def real_dynamic_slice(frame: Frame, op: Any) -> oir.Value:
    """slice with computed bounds. JAX writes it for every slice of an array with an unknown dimension."""
    starts, limits, strides = (frame.known_elements(v) for v in list(op.operands)[1:])
    if strides is None:
        raise frame.error(op, "strides depend on data")
    if starts is None or limits is None:
        return _computed(frame, op, strides)
    return _strided(frame, op, starts, limits, strides)


def _strided(
    frame: Frame, op: Any, starts: Sequence[Size], limits: Sequence[Size], strides: Sequence[Size]
) -> oir.Value:
    b = frame.builder
    shape = frame.shape(op.operands[0])
    axes, out = [], list(shape)
    steps = frame.static(op, strides, "strides")
    for axis, (start, limit, step, size) in enumerate(zip(starts, limits, steps, shape, strict=True)):
        if (start, limit, step) == (0, size, 1):
            continue
        axes.append(axis)
        out[axis] = -floordiv(start - limit, step)
    row = _row(frame, op, tuple(out), starts)
    if row is not None:
        return row
    frame.shapes[op.results[0]] = frame.result_shape(op, tuple(out))
    value = frame.aligned(op.operands[0])
    # Slicing a compact axis keeps its one element.
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


def _computed(frame: Frame, op: Any, strides: Sequence[Size]) -> oir.Value:
    """Bounds that depend on data. If the limits are the starts plus known sizes, it is a dynamic_slice, as for XLA."""
    b = frame.builder
    operand, start, limit = list(op.operands)[:3]
    steps = frame.static(op, strides, "strides")
    rank = len(steps)
    spans = _difference(frame, start, limit)
    if spans is not None and set(steps) <= {1}:
        shape = frame.shapes[op.results[0]] = frame.result_shape(op, tuple(spans))
        inside = _within(frame, start, [size - span for size, span in zip(frame.shape(operand), shape, strict=True)])
        return cut(b, frame.full(operand), range(rank), as_index(b, frame.full(start)), shape, inside=inside)
    shape = frame.result_shape(op, tuple(b.fresh_symbol() for _ in steps))
    bounds = [b.cast(frame.full(v), oir.DataType.INT64) for v in (start, limit)]
    inputs = [frame.full(operand), *bounds, b.integers(range(rank)), b.integers(steps)]
    return b.node("Slice", inputs, frame.dtype(op.results[0]), shape)


def _within(frame: Frame, start: Any, last: Sequence[Size]) -> bool:
    """Whether the starts are clamped to 0 .. ``last`` already, as JAX does."""
    producer = start.owner
    if getattr(producer, "name", "") != "stablehlo.clamp":
        return False
    low, high = (frame.known_elements(producer.operands[i]) for i in (0, 2))
    return low is not None and set(low) == {0} and high == last


def _difference(frame: Frame, start: Any, limit: Any) -> Sequence[Size] | None:
    """The sizes added to starts to make limits."""
    producer = limit.owner
    if getattr(producer, "name", "") != "stablehlo.add" or start not in producer.operands:
        return None
    a, b = producer.operands
    return frame.known_elements(b if a == start else a)


@rule("stablehlo.dynamic_slice", attributes=["slice_sizes"])
def dynamic_slice(frame: Frame, op: Any) -> oir.Value:
    """A slice of fixed size at a computed start, moved inside if it would extend beyond the operand."""
    b = frame.builder
    sizes = list(op.attributes["slice_sizes"])
    row = _row(frame, op, tuple(sizes), _known_starts(frame, list(op.operands)[1:]))
    if row is not None:
        return row
    value = frame.full(op.operands[0])
    axes = [a for a, s in enumerate(frame.shape(op.operands[0])) if s != sizes[a]]
    starts = [_start(frame, list(op.operands)[1 + a]) for a in axes]
    return cut(b, value, axes, _joined(b, starts), sizes) if axes else value


@rule("stablehlo.set_dimension_size", attributes=["dimension"])
def set_dimension_size(frame: Frame, op: Any) -> oir.Value:
    """The first elements along an axis, of a known number."""
    operand, axis = op.operands[0], op.attributes["dimension"].value
    shape = list(frame.shape(operand))
    (size,) = frame.integers(op, op.operands[1], "sizes")
    if size != shape[axis] and not (isinstance(size, int) and isinstance(shape[axis], int) and 0 <= size < shape[axis]):
        raise frame.error(op, f"size {size} of an axis of {shape[axis]}: expected a number up to that")
    shape[axis] = size
    frame.shapes[op.results[0]] = tuple(shape)
    return first_elements(frame.builder, frame.full(operand), shape)


def _known_axis(frame: Frame, array: Any, sizes: Shape, starts: Sequence[Size | None]) -> tuple[int, Size] | None:
    """The axis of which a slice has one element, and a start of it known to be inside; None for other slices."""
    shape = frame.shape(array)
    axes = [a for a, s in enumerate(shape) if s != sizes[a]]
    start = starts[axes[0]] if len(axes) == 1 and sizes[axes[0]] == 1 else None
    if start is None or not (always("GE", start, 0) and always("LT", start, shape[axes[0]])):
        return None
    return axes[0], start


def _known_starts(frame: Frame, scalars: Sequence[Any]) -> list[Size | None]:
    return [None if known is None else known[0] for known in map(frame.known_elements, scalars)]


def _row(frame: Frame, op: Any, sizes: Shape, starts: Sequence[Size | None]) -> oir.Value | None:
    """A row at a step of a loop, without arithmetic on bounds; None for other slices."""
    b, array = frame.builder, op.operands[0]
    found = _known_axis(frame, array, sizes, starts)
    if found is None or isinstance(found[1], int):
        return None
    axis, start = found
    frame.shapes[op.results[0]] = sizes
    value = frame.aligned(array)
    if axis == 0 and frame.rows is not None:
        value = frame.rows.read(value, start)
    shape = b.shape(value)
    if shape[axis] == 1:
        return value
    assert value.dtype is not None
    row = b.node("Gather", [value, scalar(b, start)], value.dtype, (*shape[:axis], *shape[axis + 1 :]), axis=axis)
    return b.reshape(row, (*shape[:axis], 1, *shape[axis + 1 :]))


def _joined(b: Builder, parts: Sequence[oir.Value]) -> oir.Value:
    if len(parts) == 1:
        return parts[0]
    arrays = [elements for part in parts if (elements := known(part)) is not None]
    if len(arrays) == len(parts):
        return b.constant(np.concatenate(arrays))
    assert parts[0].dtype is not None
    return b.node("Concat", parts, parts[0].dtype, (len(parts),), axis=0)


@rule("stablehlo.dynamic_update_slice")
def dynamic_update_slice(frame: Frame, op: Any) -> oir.Value:
    """Write a slice at a computed start, moved inside if it would extend beyond the operand."""
    b = frame.builder
    operand, update, *scalars = op.operands
    shape, sizes = frame.shape(operand), frame.shape(update)
    frame.shapes[op.results[0]] = shape
    if 0 in sizes:
        return frame.compact(operand)
    row = _known_axis(frame, operand, sizes, _known_starts(frame, scalars))
    if row is not None and row[0] == 0 and frame.rows is not None:
        written = frame.rows.write(b, frame.compact(operand), row[1], frame.compact(update))
        if written is not None:
            return written
    axes = [a for a, s in enumerate(shape) if s != sizes[a]]
    starts = {a: as_int64(b, clamped(b, _start(frame, scalars[a]), [shape[a] - sizes[a]])) for a in axes}
    return _put(b, frame.full(operand), frame.full(update), sizes, starts)


def _put(b: Builder, value: oir.Value, update: oir.Value, sizes: Shape, starts: dict[int, oir.Value]) -> oir.Value:
    """Concatenate along the first axis: the part before the update, the updated part, and the part behind."""
    if not starts:
        return update
    (axis, start), *rest = starts.items()
    shape = b.shape(value)
    elements = known(start)
    place = None if elements is None else int(elements[0])
    end = _ends(b, start, [sizes[axis]])
    before: Size = b.fresh_symbol() if place is None else place
    after: Size = b.fresh_symbol() if place is None else shape[axis] - place - sizes[axis]

    def part(first: oir.Value, last: oir.Value, size: Size) -> oir.Value:
        return _slice(b, value, [axis], first, last, [size if a == axis else s for a, s in enumerate(shape)])

    middle = _put(b, part(start, end, sizes[axis]), update, sizes, dict(rest)) if rest else update
    parts = [part(b.integers([0]), start, before)] if before != 0 else []
    parts.append(middle)
    if after != 0:
        parts.append(part(end, b.integers([np.iinfo(np.int64).max]), after))
    assert value.dtype is not None
    return b.node("Concat", parts, value.dtype, shape, axis=axis)
