"""scatter: writes slices to computed positions, or combines them with the elements there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size, shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.indices import Label, Places, Slices, find_places, merge_axes
from swift_export.converter.rules.monoids import Combine, combination
from swift_export.converter.rules.slicing import first_elements
from swift_export.formats.mlir_bindings import stablehlo

__all__: list[str] = []

DataType = oir.DataType
#: ScatterElements does not reduce these. It rounds sums and products of halves once, after all updates; XLA rounds
#: after each.
CARRIERS = {DataType.BOOL: DataType.UINT8, DataType.FLOAT16: DataType.FLOAT, DataType.BFLOAT16: DataType.FLOAT}

#: Body's op -> ScatterElements' reduction, on numbers and on truth values.
REDUCTIONS = {
    "stablehlo.add": ("add", "max"),
    "stablehlo.subtract": ("add", None),
    "stablehlo.multiply": ("mul", "min"),
    "stablehlo.maximum": ("max", "max"),
    "stablehlo.minimum": ("min", "min"),
    "stablehlo.or": (None, "max"),
    "stablehlo.and": (None, "min"),
}


@rule(
    "stablehlo.scatter",
    attributes=["scatter_dimension_numbers", "indices_are_sorted", "unique_indices"],
)
def scatter(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Slices that begin at the indices; one that would extend beyond the operand is skipped as a whole.

    XLA does the same on every platform. The StableHLO specification skips only the elements outside; the two differ for
    slices with several elements along an indexed axis that are partly outside.
    Updates of one element are applied in order, like XLA on processors: ScatterElements is one loop in ONNX Runtime.
    ScatterND runs in parallel there and loses some of them.
    """
    count = (len(op.operands) - 1) // 2
    operands, indices, updates = list(op.operands)[:count], op.operands[count], list(op.operands)[count + 1 :]
    bodies = _bodies(frame, op)
    numbers = stablehlo.ScatterDimensionNumbers(op.attributes["scatter_dimension_numbers"])
    window_dims, shape = list(numbers.update_window_dims), frame.shape(operands[0])
    for result in op.results:
        frame.shapes[result] = shape
    if 0 in frame.shape(updates[0]) or 0 in shape:
        return [frame.compact(v) for v in operands]

    dropped, batching = list(numbers.inserted_window_dims), list(numbers.input_batching_dims)
    kept = [a for a in range(len(shape)) if a not in dropped and a not in batching]
    by_axis = dict(zip(kept, (frame.shape(updates[0])[d] for d in window_dims), strict=True))
    slices = Slices(
        shape=shape,
        sizes=tuple(by_axis.get(a, 1) for a in range(len(shape))),
        index_map=list(numbers.scattered_dims_to_operand_dims),
        dropped=dropped,
        batching=dict(zip(batching, numbers.scatter_indices_batching_dims, strict=True)),
        vector=numbers.index_vector_dim,
    )
    written = _write_row(frame, slices, operands[0], indices, updates[0]) if bodies == [""] else None
    if written is not None:
        return [written]
    places = find_places(frame, indices, slices, clamp=False)
    dimensions = iter(d for d in range(len(frame.shape(indices))) if d != slices.vector)
    windows = iter(slices.windows)
    rank = len(frame.shape(updates[0]))
    labels: list[Label] = [
        ("axis", next(windows)) if d in window_dims else ("place", next(dimensions)) for d in range(rank)
    ]
    b = frame.builder
    pairs = zip(operands, updates, strict=True)
    group = [_merged(b, slices, places, frame.full(operand), frame.full(update), labels) for operand, update in pairs]
    if bodies is not None:
        found = [_reduced(b, body, merged) for body, merged in zip(bodies, group, strict=True)]
    elif _each_index_once(frame, op):
        found = _changed(b, group, combination(frame, op, op.regions[0]))
    else:
        found = _one_by_one(frame, op, group)
    return [_restored(b, slices, merged, value) for merged, value in zip(group, found, strict=True)]


def _write_row(frame: Frame, slices: Slices, operand: Any, indices: Any, update: Any) -> oir.Value | None:
    """The row of an array that a loop fills row by row; None for other scatters."""
    elements = frame.known_elements(indices)
    whole = not slices.batching and slices.index_map == [0] and slices.sizes == (1, *slices.shape[1:])
    if frame.rows is None or elements is None or len(elements) != 1 or not whole:
        return None
    if frame.shape(update) not in (slices.shape[1:], slices.sizes):
        return None
    return frame.rows.write(frame.builder, frame.compact(operand), elements[0], frame.compact(update))


def _bodies(frame: Frame, op: Any) -> list[str] | None:
    """For each operand, the op that combines an element with its update, or "" if the update replaces it; None for
    bodies of several ops.
    """
    block = op.regions[0].blocks[0]
    arguments, operations = list(block.arguments), list(block.operations)
    count = len(arguments) // 2
    bodies = []
    for old, new, value, operand in zip(
        arguments[:count], arguments[count:], operations[-1].operands, op.operands, strict=False
    ):
        if not frame.dtype(old) == frame.dtype(new) == frame.dtype(operand):
            raise frame.error(op, f"body of {frame.dtype(old).name} on {frame.dtype(operand).name}: expected one type")
        producer = next((o for o in operations[:-1] if value in o.results), None)
        name = "" if producer is None else producer.operation.name
        if producer is None:
            known = value == new
        else:
            ordered = list(producer.operands) == [old, new]
            commuted = list(producer.operands) == [new, old] and name != "stablehlo.subtract"
            known = _reduction(name, frame.dtype(operand)) is not None and (ordered or commuted)
        if not known:
            return None
        bodies.append(name)
    return bodies


def _each_index_once(frame: Frame, op: Any) -> bool:
    """Whether the program says that indices differ, or there is only one."""
    if "unique_indices" in op.attributes and op.attributes["unique_indices"].value:
        return True
    numbers = stablehlo.ScatterDimensionNumbers(op.attributes["scatter_dimension_numbers"])
    sizes = [size for d, size in enumerate(frame.shape(op.operands[1])) if d != numbers.index_vector_dim]
    return all(size == 1 for size in sizes)


def _reduction(body: str, dtype: oir.DataType) -> str | None:
    numbers, truths = REDUCTIONS.get(body, (None, None))
    return truths if dtype == DataType.BOOL else numbers


@dataclass(frozen=True)
class _Merged:
    """An operand and its update with the indexed axes merged into one, ``axis``; ``positions`` are those of the
    update's elements along it, and ``rows`` those of its slices. ``order`` has the operand's axes as they are here,
    ``whole`` the sizes of the result.
    """

    data: oir.Value
    rows: oir.Value
    positions: oir.Value
    update: oir.Value
    axis: int
    order: list[int]
    whole: Shape


def _merged(
    b: Builder, slices: Slices, places: Places, operand: oir.Value, update: oir.Value, labels: Sequence[Label]
) -> _Merged:
    axes: list[Label] = [
        ("place", places.common[a]) if a in places.common else ("axis", a) for a in range(len(slices.shape))
    ]
    data, order, axis = merge_axes(b, operand, axes, places.picked)
    before, behind = [axes[i] for i in order[:axis]], [axes[i] for i in order[axis + len(places.picked) :]]

    # The update in the same layout; along axes that slices do not keep, it has one element.
    sizes = dict(zip(labels, b.shape(update), strict=True))
    present = [label for label in (*before, *places.labels, *behind) if label in sizes]
    update = b.transpose(update, [labels.index(label) for label in present])
    count = shape_size(places.shape)
    shape: Shape = (*(sizes.get(label, 1) for label in before), count, *(sizes.get(label, 1) for label in behind))
    update = b.reshape(update, shape)
    rows = b.reshape(b.expand(places.positions, places.shape), (count, *(1,) * len(behind)))
    positions = b.expand(rows, shape)

    whole = b.shape(data)
    if places.outside:
        # Elements outside go to an extra slot at the end, which is removed afterwards.
        assert data.dtype is not None
        slot = b.expand(b.constant(np.zeros([1] * len(whole), data.dtype.numpy())), _resized(whole, axis, 1))
        data = b.node("Concat", [data, slot], data.dtype, _resized(whole, axis, whole[axis] + 1), axis=axis)
    return _Merged(data, rows, positions, update, axis, order, whole)


def _restored(b: Builder, slices: Slices, merged: _Merged, value: oir.Value) -> oir.Value:
    order = merged.order
    value = b.reshape(first_elements(b, value, merged.whole), tuple(slices.shape[i] for i in order))
    return b.transpose(value, [order.index(i) for i in range(len(order))])


def _resized(shape: Shape, axis: int, size: Size) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _changed(b: Builder, group: Sequence[_Merged], body: Combine) -> list[oir.Value]:
    """A body of several ops, where no two updates are for the same element."""
    old = [_along(b, "GatherElements", [m.data, m.positions], b.shape(m.positions), m.axis) for m in group]
    new = body(old, [m.update for m in group])
    return [
        _along(b, "ScatterElements", [m.data, m.positions, b.expand(v, b.shape(m.positions))], b.shape(m.data), m.axis)
        for m, v in zip(group, new, strict=True)
    ]


def _one_by_one(frame: Frame, op: Any, group: Sequence[_Merged]) -> list[oir.Value]:
    """A body of several ops, which needs the elements as they are after the updates before: a Loop, in XLA's order."""
    inner = frame.nested()
    b, body = frame.builder, inner.builder
    states = [body.parameter(merged.data.dtype, b.shape(merged.data)) for merged in group if merged.data.dtype]
    counter, going = body.parameter(DataType.INT64, ()), body.parameter(DataType.BOOL, ())
    k = body.reshape(counter, (1,))

    def one(value: oir.Value, axis: int) -> oir.Value:
        return _along(body, "Gather", [value, k], _resized(body.shape(value), axis, 1), axis)

    updates = [
        replace(m, data=state, positions=one(m.positions, m.axis), update=one(m.update, m.axis))
        for m, state in zip(group, states, strict=True)
    ]
    after = _changed(body, updates, combination(inner, op, op.regions[0]))
    graph = body.body([counter, going, *states], [going, *after], "body")
    count = b.reshape(b.sizes([b.shape(group[0].positions)[group[0].axis]]), ())
    results = [(state.dtype, b.shape(state)) for state in states if state.dtype]
    return b.node_outputs("Loop", [count, None, *(merged.data for merged in group)], results, body=graph)


def _along(b: Builder, op_type: str, inputs: Sequence[oir.Value], shape: Shape, axis: int) -> oir.Value:
    assert inputs[0].dtype is not None
    return b.node(op_type, inputs, inputs[0].dtype, shape, axis=axis)


def _reduced(b: Builder, body: str, merged: _Merged) -> oir.Value:
    """A body of one op, or an update that replaces."""
    data, positions, update, axis = merged.data, merged.positions, merged.update, merged.axis
    dtype = data.dtype
    assert dtype is not None
    if not body:
        return b.node("ScatterElements", [data, positions, update], dtype, b.shape(data), axis=axis)
    kind = CARRIERS.get(dtype, dtype)
    reduction = _reduction(body, dtype)
    assert reduction is not None
    data, update = b.cast(data, kind), b.cast(update, kind)
    if body == "stablehlo.subtract":
        update = b.same_type("Neg", update)

    def reduced(data: oir.Value, update: oir.Value, reduction: str) -> oir.Value:
        assert data.dtype is not None
        inputs = [data, positions, update]
        return b.node("ScatterElements", inputs, data.dtype, b.shape(data), axis=axis, reduction=reduction)

    value = reduced(data, update, reduction)
    if kind in (DataType.FLOAT, DataType.DOUBLE) and reduction in ("max", "min"):
        ranks = reduced(_rank(b, data, reduction), _rank(b, update, reduction), "max")
        value = _ranked(b, value, ranks, reduction)
    return b.cast(value, dtype)


def _rank(b: Builder, elements: oir.Value, reduction: str) -> oir.Value:
    """2 for NaN; 1 for the preferred zero and all numbers beyond it; else 0.

    ScatterElements compares like C: it loses NaN and confuses zeros of different signs. The largest rank, computed in
    parallel, gives the right one.
    """
    assert elements.dtype is not None
    comparison = "Greater" if reduction == "max" else "Less"
    wins = b.truth(comparison, b.same_type("Reciprocal", elements), b.scalar(0, elements.dtype))
    nan = b.truth("IsNaN", elements)
    return b.where(nan, b.scalar(2, DataType.UINT8), b.cast(wins, DataType.UINT8))


def _ranked(b: Builder, value: oir.Value, ranks: oir.Value, reduction: str) -> oir.Value:
    """The largest or smallest values, with NaN and the right zero where the ranks require them."""
    dtype = value.dtype
    assert dtype is not None
    zero = b.same_type("And", b.truth("Equal", value, b.scalar(0, dtype)), _equal(b, ranks, 1))
    # ONNX Runtime's Where turns a -0 in its second input into +0, but keeps one in its third.
    if reduction == "max":
        value = b.where(zero, b.scalar(0.0, dtype), value)
    else:
        value = b.where(b.opposite(zero), value, b.scalar(-0.0, dtype))
    return b.where(_equal(b, ranks, 2), b.scalar(np.nan, dtype), value)


def _equal(b: Builder, ranks: oir.Value, rank: int) -> oir.Value:
    return b.truth("Equal", ranks, b.scalar(rank, DataType.UINT8))
