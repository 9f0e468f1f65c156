"""Index arithmetic of the ops that read or write slices at computed positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, known
from swift_export.converter.dims import Shape, Size, shape_size
from swift_export.converter.frame import Frame

__all__ = [
    "Label",
    "Places",
    "Slices",
    "as_index",
    "as_int64",
    "clamped",
    "constant_elements",
    "find_places",
    "merge_axes",
]

INT32, INT64 = oir.DataType.INT32, oir.DataType.INT64
IN_INT32 = {INT32, oir.DataType.INT8, oir.DataType.INT16, oir.DataType.UINT8, oir.DataType.UINT16}
#: The origin of a value's axis: ("axis", a) of the operand, or ("place", d) of the indices.
Label = tuple[str, int]


@dataclass(frozen=True)
class Slices:
    """The dimension numbers of gather and scatter, in terms of the operand's axes.

    A slice has ``sizes`` elements along the axes of an operand of ``shape``. Component i of an index is the slice's
    start along the axis ``index_map[i]``; axes of ``batching`` are paired with a dimension of the indices. Along
    ``dropped`` and batching axes the slice has one element and no axis. ``vector`` is the dimension of the indices that
    holds the components, or the indices' rank if there is no such dimension.
    """

    shape: Shape
    sizes: Shape
    index_map: Sequence[int]
    dropped: Sequence[int]
    batching: dict[int, int]
    vector: int

    @property
    def windows(self) -> list[int]:
        """The axes that a slice keeps."""
        return [a for a in range(len(self.shape)) if a not in self.dropped and a not in self.batching]


@dataclass(frozen=True)
class Places:
    """Positions of the slices' elements along the axes ``picked``, counted as one axis of ``length``.

    ``positions`` (int32 or int64) is compact: its shape is broadcastable to ``shape``; ``labels`` describes the axes.
    ``common`` maps the batching axes along which all positions are equal to the dimensions of the indices.
    """

    picked: list[int]
    length: Size
    positions: oir.Value
    shape: Shape
    labels: list[Label]
    common: dict[int, int]
    #: Whether positions may equal ``length``, the mark of slices outside the operand.
    outside: bool


def as_index(b: Builder, value: oir.Value) -> oir.Value:
    """Integers of any type as int32 or int64; unsigned ones beyond int64 become its maximum."""
    dtype = INT32 if value.dtype in IN_INT32 else INT64
    largest = np.asarray(np.iinfo(np.int64).max, np.uint64)
    elements = known(value)
    if elements is not None:
        elements = np.minimum(elements, largest) if value.dtype == oir.DataType.UINT64 else elements
        return b.constant(elements.astype(dtype.numpy()))
    if value.dtype == oir.DataType.UINT64:
        value = b.same_type("Min", value, b.constant(largest))
    return b.cast(value, dtype)


def as_int64(b: Builder, index: oir.Value) -> oir.Value:
    """The result of ``as_index`` as int64."""
    elements = known(index)
    if elements is not None:
        return b.constant(elements.astype(np.int64))
    return b.cast(index, INT64)


def clamped(b: Builder, indices: oir.Value, last: Sequence[Size]) -> oir.Value:
    """Index vectors (int32 or int64, the last axis) clamped to 0 .. ``last``, with one limit per component."""
    fixed = [s for s in last if isinstance(s, int)]
    if len(fixed) < len(last) or max(fixed) > np.iinfo(np.int32).max:
        indices = as_int64(b, indices)
    assert indices.dtype is not None
    kind = indices.dtype.numpy()
    elements = known(indices)
    if len(fixed) == len(last) and elements is not None:
        return b.constant(np.clip(elements, 0, np.asarray(last)).astype(kind))
    if indices.dtype == INT32 and len(set(fixed)) == 1 and len(fixed) == len(last):
        # ONNX Runtime orders int64 wrongly.
        return b.node("Clip", [indices, *(b.scalar(bound, INT32) for bound in (0, fixed[0]))], INT32, b.shape(indices))
    bounds = b.constant(np.asarray(fixed, kind)) if len(fixed) == len(last) else b.sizes(last)
    shape = b.shape(indices)
    if len(shape) > 1 and shape[-1] == 1:
        # ONNX Runtime takes ten times as long where a last axis of size 1 meets a number.
        indices, bounds = b.reshape(indices, shape[:-1]), b.reshape(bounds, ())
    zero = b.constant(np.asarray(0, kind))
    return b.reshape(b.same_type("Min", b.same_type("Max", indices, zero), bounds), shape)


def merge_axes(
    b: Builder, value: oir.Value, labels: Sequence[Label], picked: Sequence[int]
) -> tuple[oir.Value, list[int], int]:
    """A value with the operand's axes ``picked`` merged, the order of axes used for it, and the merged axis.

    Axes between picked ones move behind them; the others stay in place. Without picked axes, an axis of size 1 is
    added in front.
    """
    chosen = [labels.index(("axis", a)) for a in picked]
    first = chosen[0] if chosen else 0
    order = [*range(first), *chosen, *(i for i in range(first, len(labels)) if i not in chosen)]
    turned = b.transpose(value, order)
    shape, behind = b.shape(turned), first + len(chosen)
    return b.reshape(turned, (*shape[:first], shape_size(shape[first:behind]), *shape[behind:])), order, first


def find_places(frame: Frame, operand: Any, slices: Slices, *, clamp: bool) -> Places:
    """Positions of the slices that indices select.

    With ``clamp``, as in gather, a slice that would begin outside is moved inside, and axes that slices cover
    completely are not picked. Without it, all elements of a slice that is not completely inside get the position
    ``length``.
    """
    b = frame.builder
    compact, rank = b.shape(frame.aligned(operand)), len(frame.shape(operand))
    common = {a: d for a, d in slices.batching.items() if compact[d] == 1}
    differing = {a: d for a, d in slices.batching.items() if a not in common}
    kept = [d for d in range(rank) if d != slices.vector and d not in common.values()]
    chosen = [i for i, a in enumerate(slices.index_map) if not clamp or slices.sizes[a] != slices.shape[a]]
    axes = [slices.index_map[i] for i in chosen]
    picked = sorted({*axes, *differing})
    windows = [a for a in picked if a in slices.windows]
    strides = {a: shape_size([slices.shape[p] for p in picked if p > a]) for a in picked}
    length = shape_size([slices.shape[a] for a in picked])

    index = as_index(b, _components(frame, operand, slices.vector, kept, chosen))
    begin = clamped(b, index, [slices.shape[a] - slices.sizes[a] for a in axes]) if axes else index
    inside = None if clamp or not axes else _all_equal(b, index, begin)
    # A single component is already a position.
    if differing or inside is not None or [slices.sizes[a] for a in picked] != [1]:
        begin = as_int64(b, begin)
    flat = _weighted_sum(b, begin, [strides[a] for a in axes])
    flat = b.reshape(flat, (*b.shape(flat), *(1,) * len(windows)))

    shape = (*(frame.shape(operand)[d] for d in kept), *(slices.sizes[a] for a in windows))
    counts = [(kept.index(d), slices.shape[a], strides[a]) for a, d in differing.items()]
    counts += [(len(kept) + i, slices.sizes[a], strides[a]) for i, a in enumerate(windows)]
    offset = _sum_of_counts(b, counts, len(shape))
    if offset is not None:
        flat = b.same_type("Add", flat, offset)
    if inside is not None:
        inside = b.reshape(inside, (*b.shape(inside), *(1,) * len(windows)))
        flat = b.where(inside, flat, b.reshape(b.sizes([length]), ()))
    labels: list[Label] = [*(("place", d) for d in kept), *(("axis", a) for a in windows)]
    return Places(picked, length, flat, shape, labels, common, inside is not None)


def _components(frame: Frame, operand: Any, vector: int, kept: Sequence[int], chosen: Sequence[int]) -> oir.Value:
    """The indices' dimensions ``kept``, followed by the chosen components of the vectors."""
    b = frame.builder
    value, shape = frame.aligned(operand), b.shape(frame.aligned(operand))
    order = [*kept, *(d for d in range(len(shape)) if d != vector and d not in kept)]
    if vector < len(shape):
        order.append(vector)
    whole = (*(shape[d] for d in kept), shape[vector] if vector < len(shape) else 1)
    elements = constant_elements(value)
    if elements is not None:
        array = elements.reshape([s for s in shape if isinstance(s, int)]).transpose(order)
        array = array.reshape([s for s in whole if isinstance(s, int)])
        return b.constant(array if whole[-1] == 1 else array[..., list(chosen)])
    value = b.reshape(b.transpose(value, order), whole)
    if whole[-1] in (1, len(chosen)):
        return value
    assert value.dtype is not None
    return b.node("Gather", [value, b.integers(chosen)], value.dtype, (*whole[:-1], len(chosen)), axis=len(kept))


def constant_elements(value: oir.Value) -> np.ndarray | None:
    """The elements of a constant, also through reshapes and repeated."""
    producer = value.producer()
    if producer is not None and producer.op_type in ("Unsqueeze", "Reshape") and producer.inputs[0] is not None:
        return constant_elements(producer.inputs[0])
    if producer is not None and producer.op_type == "Expand":
        number, shape = (known(v) if v is not None else None for v in producer.inputs)
        return None if number is None or shape is None else np.broadcast_to(number, shape)
    return known(value)


def _weighted_sum(b: Builder, vectors: oir.Value, weights: Sequence[Size]) -> oir.Value:
    """The weighted sum of the components, the last axis."""
    shape = b.shape(vectors)[:-1]
    if not weights:
        return b.constant(np.zeros([1] * len(shape), np.int64))
    fixed = [w for w in weights if isinstance(w, int)]
    elements = known(vectors)
    if elements is not None and len(fixed) == len(weights):
        return b.constant((elements * np.asarray(fixed)).sum(axis=-1).astype(elements.dtype))
    if len(weights) > 1 or weights[0] != 1:
        vectors = b.same_type("Mul", vectors, b.sizes(weights))
    if len(weights) == 1:
        return b.reshape(vectors, shape)
    # ONNX Runtime sums int64 in float64, which is exact for positions below 2**53.
    return b.node("ReduceSum", [vectors, b.integers([len(shape)])], INT64, shape, keepdims=0)


def _sum_of_counts(b: Builder, counts: Sequence[tuple[int, Size, Size]], rank: int) -> oir.Value | None:
    """Sum over axes, each of a size, of 0, 1, ... times a stride; compact, or None if all zeros."""
    total: oir.Value | None = None
    for axis, size, stride in counts:
        if size == 1:
            continue
        if isinstance(size, int) and isinstance(stride, int):
            count = b.constant(np.arange(size) * stride)
        else:
            limits = [b.reshape(v, ()) for v in (b.integers([0]), b.sizes([size]), b.integers([1]))]
            count = b.node("Range", limits, INT64, (size,))
            count = count if stride == 1 else b.same_type("Mul", count, b.sizes([stride]))
        count = b.reshape(count, tuple(size if i == axis else 1 for i in range(rank)))
        total = count if total is None else b.same_type("Add", total, count)
    return total


def _all_equal(b: Builder, vectors: oir.Value, others: oir.Value) -> oir.Value | None:
    """Whether all components are equal; None if that is known for all vectors."""
    ours, theirs = known(vectors), known(others)
    if ours is not None and theirs is not None:
        equal = np.all(ours == theirs, axis=-1)
        return None if equal.all() else b.constant(equal)
    truth = b.truth("Equal", b.cast(vectors, INT64) if others.dtype == INT64 else vectors, others)
    shape = b.shape(truth)
    if shape[-1] == 1:
        return b.reshape(truth, shape[:-1])
    bits, axis = b.cast(truth, INT32), b.integers([len(shape) - 1])
    return b.cast(b.node("ReduceMin", [bits, axis], INT32, shape[:-1], keepdims=0), oir.DataType.BOOL)
