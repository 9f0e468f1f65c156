"""Gather: elements chosen by computed indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
from jax.extend.mlir.dialects import stablehlo

from swift_export.lowering.onnx.dims import Shape
from swift_export.lowering.onnx.frame import Frame, rule

__all__: list[str] = []

INDICES = (oir.DataType.INT32, oir.DataType.INT64)


@rule("stablehlo.gather", attributes=["dimension_numbers", "slice_sizes", "indices_are_sorted"])
def gather(frame: Frame, op: Any) -> oir.Value:
    """Whole slices along one axis. Indices may not differ along a batching dimension; one out of range is clamped, as
    StableHLO says.
    """
    b = frame.builder
    numbers = stablehlo.GatherDimensionNumbers(op.attributes["dimension_numbers"])
    data, shape = frame.full(op.operands[0]), frame.shape(op.operands[0])
    batching = list(numbers.operand_batching_dims)
    sizes = list(op.attributes["slice_sizes"])
    axes = list(numbers.start_index_map)
    if len(axes) != 1 or list(numbers.collapsed_slice_dims) != axes:
        raise frame.error(op, f"indices into axes {axes}: the op's rule takes whole slices along one axis")
    (axis,) = axes
    window = [a for a in range(len(shape)) if a not in (axis, *batching)]
    length = shape[axis]
    if not isinstance(length, int) or length == 0 or any(sizes[a] != shape[a] for a in window):
        raise frame.error(op, f"slices of {sizes} out of {shape}: the op's rule takes whole slices along one axis")

    indices, kept = _indices(frame, op, numbers)
    indices = _clamped(frame, indices, length - 1)
    gathered = (*shape[:axis], *b.shape(indices), *shape[axis + 1 :])
    value = b.node("Gather", [data, indices], frame.dtype(op.results[0]), gathered, axis=axis)

    # ONNX puts the places in the axis' own stead; StableHLO has all that the indices are of, and the slices between.
    position = {a: a if a < axis else a + len(kept) - 1 for a in (*window, *batching)}
    by_index = dict(zip(kept, range(axis, axis + len(kept)), strict=True))
    by_index |= dict(zip(numbers.start_indices_batching_dims, (position[a] for a in batching), strict=True))
    offsets, places = list(numbers.offset_dims), iter(sorted(by_index))
    perm, slices = [], iter(window)
    for dimension in range(len(gathered)):
        perm.append(position[next(slices)] if dimension in offsets else by_index[next(places)])
    result = b.transpose(value, perm)
    frame.shapes[op.results[0]] = tuple(gathered[p] for p in perm)
    return result


def _indices(frame: Frame, op: Any, numbers: Any) -> tuple[oir.Value, list[int]]:
    """The indices without batching and vector dimensions, and which of their dimensions are left."""
    operand = op.operands[1]
    if frame.dtype(operand) not in INDICES:
        raise frame.error(op, f"indices of type {frame.dtype(operand).name}: the op's rule takes INT32, INT64")
    value, shape = frame.aligned(operand), frame.shape(operand)
    compact = frame.builder.shape(value)
    batching, vector = list(numbers.start_indices_batching_dims), numbers.index_vector_dim
    if any(compact[d] != 1 and shape[d] != 1 for d in batching):
        raise frame.error(op, "indices that differ along a batching dimension: the op's rule takes the same for all")
    kept = [d for d in range(len(shape)) if d != vector and d not in batching]
    reduced: Shape = tuple(compact[d] for d in kept)
    constant = _constant(value)
    if constant is not None:
        value = frame.builder.constant(constant.reshape([int(s) for s in reduced if isinstance(s, int)]))
    value = frame.builder.reshape(value, reduced)
    return frame.builder.expand(value, tuple(shape[d] for d in kept)), kept


def _clamped(frame: Frame, indices: oir.Value, last: int) -> oir.Value:
    constant = _constant(indices)
    if constant is not None:
        return frame.builder.constant(np.clip(constant, 0, last))
    assert indices.dtype is not None
    bounds = [frame.builder.constant(np.asarray(v, indices.dtype.numpy())) for v in (0, last)]
    low = frame.builder.same_type("Max", indices, bounds[0])
    return frame.builder.same_type("Min", low, bounds[1])


def _constant(value: oir.Value) -> np.ndarray | None:
    """The elements of a constant, seen through added axes."""
    producer = value.producer()
    if producer is not None and producer.op_type in ("Unsqueeze", "Reshape") and producer.inputs[0] is not None:
        return _constant(producer.inputs[0])
    return None if value.const_value is None else np.asarray(value.const_value.numpy())
