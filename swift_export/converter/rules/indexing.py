"""gather: slices at computed positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx_ir as oir

from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.counting import counts
from swift_export.converter.rules.indices import Label, Slices, as_index, find_places, merge_axes
from swift_export.converter.rules.slicing import cut, first_elements
from swift_export.formats.mlir_bindings import stablehlo

__all__: list[str] = []


@rule("stablehlo.gather", attributes=["dimension_numbers", "slice_sizes", "indices_are_sorted"])
def gather(frame: Frame, op: Any) -> oir.Value:
    """Slices that begin at the indices; one that would extend beyond the operand is moved inside, as in StableHLO."""
    return _gather(frame, op, tuple(op.attributes["slice_sizes"]))


@rule("stablehlo.dynamic_gather", attributes=["dimension_numbers", "indices_are_sorted"])
def dynamic_gather(frame: Frame, op: Any) -> oir.Value:
    """gather with computed sizes of the slices."""
    return _gather(frame, op, frame.sizes(op, op.operands[2], "slice sizes"))


def _gather(frame: Frame, op: Any, sizes: Shape) -> oir.Value:
    numbers = stablehlo.GatherDimensionNumbers(op.attributes["dimension_numbers"])
    shape, indices = frame.shape(op.operands[0]), op.operands[1]
    indices, slices = _paired(
        frame,
        indices,
        Slices(
            shape=shape,
            sizes=sizes,
            index_map=list(numbers.start_index_map),
            dropped=list(numbers.collapsed_slice_dims),
            batching=dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)),
            vector=numbers.index_vector_dim,
        ),
    )
    offsets = list(numbers.offset_dims)
    dimensions = [d for d in range(len(frame.shape(indices))) if d != slices.vector]
    if not dimensions:
        value, labels = _one_slice(frame, op, indices, slices)
    elif _is_along_axis(frame, indices, slices, dimensions):
        value, labels = _along_axis(frame, op, indices, slices)
    else:
        value, labels = _many_slices(frame, op, indices, slices)
    offsets, windows, places = list(numbers.offset_dims), iter(slices.windows), iter(dimensions)
    wanted: list[Label] = [
        ("axis", next(windows)) if d in offsets else ("place", next(places)) for d in range(len(labels))
    ]
    result = frame.builder.transpose(value, [labels.index(label) for label in wanted])
    frame.shapes[op.results[0]] = frame.builder.shape(result)
    return result


def _paired(frame: Frame, indices: Any, slices: Slices) -> tuple[Any, Slices]:
    """Slices with the axes along which the indices count paired with their dimensions, as in ``x[arange(n), i]``; and
    the indices along the only other axis.
    """
    joined = getattr(indices.owner, "opview", None)
    if joined is None or joined.operation.name != "stablehlo.concatenate":
        return indices, slices
    parts, shape = list(joined.operands), frame.shape(indices)
    if joined.attributes["dimension"].value != slices.vector or len(parts) != len(slices.index_map):
        return indices, slices
    batching, open_axes = dict(slices.batching), []
    for part, axis in zip(parts, slices.index_map, strict=True):
        free = [d for d in range(len(shape)) if d != slices.vector and d not in batching.values()]
        same = [d for d in free if axis in slices.dropped and shape[d] == slices.shape[axis] and counts(frame, part, d)]
        if same:
            batching[axis] = same[0]
        else:
            open_axes.append((part, axis))
    if len(open_axes) != 1:
        return indices, slices
    ((part, axis),) = open_axes
    dropped = [a for a in slices.dropped if a not in batching]
    return part, replace(slices, index_map=[axis], dropped=dropped, batching=batching)


def _one_slice(frame: Frame, op: Any, indices: Any, slices: Slices) -> tuple[oir.Value, list[Label]]:
    b = frame.builder
    begin = as_index(b, b.reshape(frame.full(indices), (len(slices.index_map),)))
    value = cut(b, frame.full(op.operands[0]), slices.index_map, begin, slices.sizes)
    value = first_elements(b, value, slices.sizes)
    return b.reshape(value, tuple(slices.sizes[a] for a in slices.windows)), [("axis", a) for a in slices.windows]


def _is_along_axis(frame: Frame, indices: Any, slices: Slices, dimensions: list[int]) -> bool:
    """Whether slices have one element, along one axis, and all other axes are paired with dimensions of the indices, of
    which at most one is left.
    """
    compact = frame.builder.shape(frame.aligned(indices))
    return (
        len(slices.index_map) == 1
        and list(slices.index_map) == list(slices.dropped)
        and len(slices.batching) + 1 == len(slices.shape)
        and len(slices.batching) <= len(dimensions) <= len(slices.shape)
        and any(compact[d] != 1 for d in slices.batching.values())
    )


def _along_axis(frame: Frame, op: Any, indices: Any, slices: Slices) -> tuple[oir.Value, list[Label]]:
    b = frame.builder
    places = find_places(frame, indices, replace(slices, batching={}), clamp=True)
    (axis,) = slices.index_map
    batching = [("place", d) for d in slices.batching.values()]
    free = [label for label in places.labels if label not in batching]
    # Without a dimension of its own, an index is one of one.
    ahead: list[Label] = [("place", slices.batching[a]) for a in range(axis)]
    behind: list[Label] = [("place", slices.batching[a]) for a in range(axis + 1, len(slices.shape))]
    labels = [*ahead, *free, *behind]
    positions = b.expand(places.positions, places.shape)
    positions = b.transpose(positions, [places.labels.index(label) for label in labels])
    shape = b.shape(positions)
    if not free:
        positions = b.reshape(positions, (*shape[:axis], 1, *shape[axis:]))
    inputs = [frame.full(op.operands[0]), positions]
    found = b.node("GatherElements", inputs, frame.dtype(op.results[0]), b.shape(positions), axis=axis)
    return b.reshape(found, shape), labels


def _many_slices(frame: Frame, op: Any, indices: Any, slices: Slices) -> tuple[oir.Value, list[Label]]:
    """A Gather along the indexed axes, merged into one."""
    b = frame.builder
    places = find_places(frame, indices, slices, clamp=True)
    # Along axes without an index, a slice begins at 0.
    whole = {*places.picked, *places.common}
    sizes = tuple(s if a in whole else slices.sizes[a] for a, s in enumerate(slices.shape))
    data = first_elements(b, frame.full(op.operands[0]), sizes)
    kept = [a for a in range(len(sizes)) if a in places.picked or a not in slices.dropped]
    data = b.reshape(data, tuple(sizes[a] for a in kept))
    labels: list[Label] = [("place", places.common[a]) if a in places.common else ("axis", a) for a in kept]

    data, order, axis = merge_axes(b, data, labels, places.picked)
    shape = b.shape(data)
    inputs = [data, b.expand(places.positions, places.shape)]
    gathered = (*shape[:axis], *places.shape, *shape[axis + 1 :])
    value = b.node("Gather", inputs, frame.dtype(op.results[0]), gathered, axis=axis)
    before, behind = order[:axis], order[axis + len(places.picked) :]
    return value, [*(labels[i] for i in before), *places.labels, *(labels[i] for i in behind)]
