"""sort and top-k: ONNX's TopK on keys with the comparator's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, OpsetError
from swift_export.converter.dims import Size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import static_shape
from swift_export.converter.rules.comparators import Key, sort_keys

__all__: list[str] = []

DataType = oir.DataType


@rule("stablehlo.sort", attributes=["dimension", "is_stable"])
def sort(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Always stable, even if not required: TopK keeps equal elements in the order of their indices."""
    block = op.regions[0].blocks[0]
    keys = sort_keys(block)
    if keys is None:
        names = ", ".join(o.operation.name for o in block.operations)
        raise frame.error(
            op, f"comparator {names}: expected strict comparisons of elements, or their lexicographic order"
        )
    for result, operand in zip(op.results, op.operands, strict=True):
        frame.shapes[result] = frame.shape(operand)
    axis = op.attributes["dimension"].value
    if frame.shape(op.operands[0])[axis] in (0, 1):
        return [frame.compact(v) for v in op.operands]
    order = _order(frame, list(op.operands), keys, axis, frame.shape(op.operands[0])[axis])
    return [_in_order(frame, operand, order, axis) for operand in op.operands]


def _order(frame: Frame, operands: Sequence[Any], keys: Sequence[Key], axis: int, count: Size) -> oir.Value:
    """The indices of the first ``count`` elements: sorted by the last key, then stably by each earlier one."""
    b = frame.builder
    parts = [(part, key.descending) for key in keys for part in _parts(b, frame.full(operands[key.operand]), key)]
    order: oir.Value | None = None
    for i, (part, descending) in reversed(list(enumerate(parts))):
        if order is not None:
            part = _take(b, part, order, axis)
        shape = list(b.shape(part))
        shape[axis] = count if i == 0 else shape[axis]
        assert part.dtype is not None
        results = [(part.dtype, tuple(shape)), (DataType.INT64, tuple(shape))]
        inputs = [part, b.sizes([shape[axis]])]
        _, places = b.node_outputs("TopK", inputs, results, axis=axis, largest=int(descending), sorted=1)
        order = places if order is None else _take(b, order, places, axis)
    assert order is not None
    return order


def _take(b: Builder, value: oir.Value, places: oir.Value, axis: int) -> oir.Value:
    assert value.dtype is not None
    return b.node("GatherElements", [value, places], value.dtype, b.shape(places), axis=axis)


def _in_order(frame: Frame, operand: Any, order: oir.Value, axis: int) -> oir.Value:
    producer = operand.owner
    counts = getattr(producer, "name", "") in ("stablehlo.iota", "stablehlo.dynamic_iota")
    if counts and producer.attributes["iota_dimension"].value == axis:
        return frame.builder.cast(order, frame.dtype(operand))
    return _take(frame.builder, frame.full(operand), order, axis)


def _parts(b: Builder, value: oir.Value, key: Key) -> list[oir.Value]:
    """Numbers without NaN in a key's order, in types that TopK takes; the most significant first."""
    dtype = value.dtype
    assert dtype is not None
    if dtype.is_floating_point():
        if not key.one_nan:
            try:
                return [_bits(b, value, key)]
            except OpsetError:
                # Only opsets with BitCast show NaN's sign; in older ones every NaN counts as positive, JAX's form.
                pass
        return _numbers(b, value, key)
    if dtype == DataType.UINT64:
        # With the highest bit flipped, the order is that of signed integers.
        lowest = b.scalar(np.iinfo(np.int64).min, DataType.INT64)
        return [b.same_type("BitwiseXor", b.cast(value, DataType.INT64), lowest)]
    return [b.cast(value, DataType.UINT8 if dtype == DataType.BOOL else b.carrier("TopK", dtype))]


def _bits(b: Builder, value: oir.Value, key: Key) -> oir.Value:
    """Floats as integers in the same order: their bits, with all but the sign flipped for negative numbers."""
    double = value.dtype == DataType.DOUBLE
    kind, integer = (DataType.DOUBLE, DataType.INT64) if double else (DataType.FLOAT, DataType.INT32)
    value = b.cast(value, kind)
    if key.one_zero:
        value = b.where(b.truth("Equal", value, b.scalar(0.0, kind)), b.scalar(0.0, kind), value)
    bits = b.node("BitCast", [value], integer, b.shape(value), to=integer.value)
    flipped = b.same_type("BitwiseXor", bits, b.scalar(np.iinfo(integer.numpy()).max, integer))
    return b.where(b.truth("Less", bits, b.scalar(0, integer)), flipped, bits)


def _numbers(b: Builder, value: oir.Value, key: Key) -> list[oir.Value]:
    """Floats with NaN as the largest."""
    dtype = value.dtype
    wide = b.cast(value, DataType.DOUBLE)
    zero, infinity = b.scalar(0.0, DataType.DOUBLE), b.scalar(np.inf, DataType.DOUBLE)
    nan, at_zero = b.truth("IsNaN", wide), b.truth("Equal", wide, zero)
    below = b.same_type("And", at_zero, b.truth("Less", b.same_type("Reciprocal", wide), zero))
    if dtype == DataType.DOUBLE:
        parts = [b.cast(nan, DataType.UINT8), b.where(nan, zero, wide)]
        return parts if key.one_zero else [*parts, b.cast(b.same_type("Not", below), DataType.UINT8)]
    # float64 has room for numbers beyond the narrower type's infinity, and for -0.0 next to 0.0.
    wide = b.where(b.truth("Equal", wide, infinity), b.scalar(1e300, DataType.DOUBLE), wide)
    wide = b.where(nan, infinity, wide)
    return [wide if key.one_zero else b.where(below, b.scalar(-1e-300, DataType.DOUBLE), wide)]


@rule("chlo.top_k", attributes=["k"])
def top_k(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The largest elements along the last axis and their indices, with the first of equal ones first."""
    return _top_k(frame, op, op.attributes["k"].value)


@rule("@stablehlo.dynamic_top_k")
def dynamic_top_k(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """top_k with a number that depends on an unknown size."""
    (count,) = frame.sizes(op, op.operands[1], "numbers of elements")
    return _top_k(frame, op, count)


@rule("@mhlo.topk")
def older_top_k(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """top_k in the form used before CHLO had a portable one."""
    attributes = op.attributes["mhlo.attributes"]
    if "largest" in attributes and not attributes["largest"].value:
        raise frame.error(op, "largest = false: the op's rule takes the largest elements")
    return _top_k(frame, op, attributes["k"].value)


def _top_k(frame: Frame, op: Any, count: Size) -> Sequence[oir.Value]:
    operand = op.operands[0]
    axis = len(frame.shape(operand)) - 1
    order = _order(frame, [operand], [Key(0, descending=True, one_zero=False, one_nan=False)], axis, count)
    return [_take(frame.builder, frame.full(operand), order, axis), frame.builder.cast(order, DataType.INT32)]


@rule("@TopK")
def xla_top_k(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """XLA's own: as many of the first elements along the last axis, in a comparator's order, as the result has."""
    operand, result = op.operands[0], op.results[0]
    keys = _comparator(frame, op)
    # Equal elements are in the order of their indices anyway; the other order, and no order of elements, are unknown.
    if keys[0].operand != 0 or any(key.descending for key in keys[1:]) or len(keys) > 2:
        raise frame.error(op, "comparator: expected one that orders by the elements")
    axis = len(frame.shape(operand)) - 1
    order = _order(frame, [operand], keys[:1], axis, static_shape(result)[axis] or 0)
    return [
        _take(frame.builder, frame.full(operand), order, axis),
        frame.builder.cast(order, frame.dtype(op.results[1])),
    ]


def _comparator(frame: Frame, op: Any) -> list[Key]:
    (name,) = op.attributes["called_computations"]
    keys = sort_keys(frame.functions[name.value].regions[0].blocks[0])
    if keys is None:
        raise frame.error(op, f"comparator {name.value}: expected a strict comparison")
    return keys


@rule("@ApproxTopK")
def approximate_top_k(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """JAX's approximate top-k, computed exactly: a recall of 100 % meets any target."""
    config = op.attributes["mhlo.backend_config" if "mhlo.backend_config" in op.attributes else "backend_config"]
    axis, count = config["reduction_dim"].value, config["top_k"].value
    keys = _comparator(frame, op)
    if not config["aggregate_to_topk"].value:
        raise frame.error(op, "aggregate_to_topk = false: the number of results depends on the machine")
    operands = list(op.operands)[:2]
    order = _order(frame, operands, keys, axis, count)
    return [_in_order(frame, operand, order, axis) for operand in operands]
