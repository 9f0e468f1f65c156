"""reduce: sums, products, extremes and logic along axes; other bodies of elementwise ops, combined in pairs; map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.arguments import argument_extreme
from swift_export.converter.rules.folding import ONE_BY_ONE, folded, in_windows
from swift_export.converter.rules.monoids import Combine, Monoid, combination, monoids
from swift_export.converter.rules.reduce_extremes import along, axes_last, extreme
from swift_export.converter.rules.spacing import Axis
from swift_export.converter.rules.terms import FLOATS

__all__: list[str] = []

DataType = oir.DataType

#: ONNX's reductions of floats. ONNX Runtime computes those of integers in floats, which loses digits.
REDUCTIONS = {"add": "ReduceSum", "multiply": "ReduceProd"}


@rule("stablehlo.reduce", attributes=["dimensions"])
def reduce(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Combine the initial value and all elements along axes, separately per operand or by one body for all."""
    count = len(op.operands) // 2
    operands, initial = list(op.operands)[:count], list(op.operands)[count:]
    axes = list(op.attributes["dimensions"])
    shape = tuple(s for a, s in enumerate(frame.shape(operands[0])) if a not in axes)
    for result in op.results:
        frame.shapes[result] = shape
    if not axes:
        # StableHLO leaves open whether an initial value that is not neutral counts. In XLA it does not.
        return [frame.compact(value) for value in operands]
    if 0 in [frame.shape(operands[0])[axis] for axis in axes]:
        return [frame.compact(value) for value in initial]
    single = monoids(op.regions[0], [frame.dtype(v) for v in operands])
    if single is not None:
        reduced = [_reduced(frame, op, monoid, operand, axes) for monoid, operand in zip(single, operands, strict=True)]
        return [
            value if monoid.is_neutral(start) else monoid.apply(frame.builder, start, value)
            for monoid, value, start in zip(single, reduced, map(frame.compact, initial), strict=True)
        ]
    found = argument_extreme(frame, op)
    if found is not None:
        return found
    combine = combination(frame, op, op.regions[0])
    return _combined(frame, op, [frame.full(v) for v in operands], axes, combine, [frame.compact(v) for v in initial])


@rule("stablehlo.map", attributes=["dimensions"])
def map_elements(frame: Frame, op: Any) -> oir.Value:
    """A body of scalars, applied to whole arrays."""
    frame.shapes[op.results[0]] = frame.result_shape(op, *map(frame.shape, op.operands))
    (result,) = combination(frame, op, op.regions[0])([frame.compact(v) for v in op.operands], [])
    return result


def _reduced(frame: Frame, op: Any, monoid: Monoid, operand: Any, axes: list[int]) -> oir.Value:
    """Reduce one operand, without its initial value."""
    b, value, dtype = frame.builder, frame.full(operand), monoid.dtype
    shape = tuple(s for a, s in enumerate(b.shape(value)) if a not in axes)
    if dtype not in FLOATS and all(b.shape(value)[axis] == 1 for axis in axes):
        return b.reshape(value, shape)
    if monoid.kind in ("maximum", "minimum") or (dtype == DataType.BOOL and monoid.kind in ("and", "or")):
        return extreme(b, monoid.kind, value, axes, shape)
    if dtype in FLOATS:
        return along(b, REDUCTIONS[monoid.kind], value, axes, shape)
    if monoid.kind == "add":
        return _integer_sum(b, value, axes, shape)
    return _combined(frame, op, [value], axes, lambda x, y: [monoid.plain(b, x[0], y[0])])[0]


def _integer_sum(b: Builder, value: oir.Value, axes: list[int], shape: Shape) -> oir.Value:
    """A sum as a product with a vector of ones, in which integers wrap around as required."""
    dtype = value.dtype
    assert dtype is not None
    kind = DataType.INT64 if dtype.itemsize == 8 else DataType.INT32
    value, length = axes_last(b, b.cast(value, kind), axes)
    ones = b.expand(b.scalar(1, kind), (length,))
    return b.cast(b.node("MatMul", [value, ones], kind, shape), dtype)


def _combined(
    frame: Frame,
    op: Any,
    values: Sequence[oir.Value],
    axes: list[int],
    combine: Combine,
    initial: Sequence[oir.Value] | None = None,
) -> list[oir.Value]:
    """Combine the initial values and all elements along axes.

    StableHLO leaves the order open. Few elements are combined one by one, like XLA on a CPU, because a body may not be
    associative. Many elements, or elements under ops that do not depend on the order, are combined in pairs.
    """
    b = frame.builder
    length = shape_size([b.shape(values[0])[axis] for axis in axes])
    if not isinstance(length, int):
        raise frame.error(op, f"{length} elements to combine: the op's rule takes a known number for this body")
    last = [axes_last(b, value, axes)[0] for value in values]
    shape = b.shape(last[0])[:-1]
    if initial is not None and length <= ONE_BY_ONE:
        window = [*[Axis()] * len(shape), Axis(length)]
        return [b.reshape(v, shape) for v in in_windows(b, last, window, (*shape, 1), combine, initial)]
    found = [b.reshape(value, shape) for value in folded(b, last, len(shape), length, combine)]
    return found if initial is None else combine(initial, found)
