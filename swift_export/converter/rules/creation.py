"""Ops that make values only from attributes and shapes."""

from __future__ import annotations

from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import constant_array

__all__: list[str] = []


@rule("stablehlo.constant", attributes=["value"])
def constant(frame: Frame, op: Any) -> oir.Value:
    """Dense elements; a splat stays a scalar."""
    frame.shapes[op.results[0]] = tuple(op.results[0].type.shape)
    return frame.builder.constant(constant_array(op.attributes["value"]))


def _counting(frame: Frame, op: Any, axis: int, shape: tuple[Any, ...]) -> oir.Value:
    b = frame.builder
    size = shape[axis]
    zero, one = b.integers([0]), b.integers([1])
    scalars = [b.reshape(v, ()) for v in (zero, b.sizes([size]), one)]
    values = b.node("Range", scalars, oir.DataType.INT64, (size,))
    frame.shapes[op.results[0]] = shape
    return b.reshape(b.cast(values, frame.dtype(op.results[0])), (size, *(1,) * (len(shape) - axis - 1)))


@rule("stablehlo.iota", attributes=["iota_dimension"])
def iota(frame: Frame, op: Any) -> oir.Value:
    """0, 1, 2, ... along one axis."""
    return _counting(frame, op, op.attributes["iota_dimension"].value, frame.result_shape(op))


@rule("stablehlo.dynamic_iota", attributes=["iota_dimension"])
def dynamic_iota(frame: Frame, op: Any) -> oir.Value:
    """iota with an unknown size."""
    shape = frame.sizes(op, op.operands[0], "output sizes")
    return _counting(frame, op, op.attributes["iota_dimension"].value, shape)


@rule("stablehlo.get_dimension_size", attributes=["dimension"])
def get_dimension_size(frame: Frame, op: Any) -> oir.Value:
    """A size as data; in shape arithmetic it makes no node."""
    axis = op.attributes["dimension"].value
    value = frame.full(op.operands[0])
    size = frame.builder.node("Shape", [value], oir.DataType.INT64, (1,), start=axis, end=axis + 1)
    return frame.builder.reshape(frame.builder.cast(size, frame.dtype(op.results[0])), ())
