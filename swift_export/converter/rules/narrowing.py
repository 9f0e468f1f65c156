"""Conversions to and from element types that ONNX Runtime does not compute with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.builder import known
from swift_export.converter.frame import Frame
from swift_export.converter.narrow_types import EIGHT_BITS, EIGHT_BITS_OPSET
from swift_export.converter.rules.terms import FLOATS, SIGNED, Term

__all__ = ["narrowed", "read_as_narrow"]

DataType = oir.DataType

#: Magnitudes beyond the first of these, and from the second one on, are NaN in XLA or, if the type has one, infinity.
#: ONNX Runtime's Cast, which rounds like XLA below, gives others.
LIMITS = {"float8_e4m3fn": 464.0, "float8_e5m2": 61440.0}


def narrowed(frame: Frame, op: Any, x: Term, name: str) -> Term:
    """Elements rounded, or with only their low bits, to the type of NumPy's ``name``; carried in its carrier.

    Floats saturate on conversion to integers, as for wider ones; ``x`` is such an integer then.
    """
    carrier = frame.dtype(op.results[0])
    elements = known(x.value)
    if elements is not None and x.dtype in FLOATS - {DataType.DOUBLE} and carrier == DataType.FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):
            return Term(x.builder, x.builder.constant(elements.astype(np.dtype(name)).astype(np.float32)))
    if carrier == DataType.FLOAT:
        return _rounded(frame, op, x, name)
    width = int(name[-1])
    if x.dtype in FLOATS:
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if carrier in SIGNED else (0, (1 << width) - 1)
        wide = x if x.dtype == DataType.DOUBLE else x.to(DataType.FLOAT)
        inside = (wide < high + 1).choose(wide, high).apply("Max", float(low))
        return wide.ask("IsNaN").choose(wide.constant(0), inside).to(carrier)
    low_bits = x.to(carrier) & ((1 << width) - 1)
    sign = 1 << (width - 1)
    return (low_bits ^ sign) - sign if carrier in SIGNED else low_bits


def _rounded(frame: Frame, op: Any, x: Term, name: str) -> Term:
    if name not in EIGHT_BITS or x.dtype == DataType.DOUBLE:
        source = op.operands[0].type.element_type
        raise frame.error(op, f"from {source} to {name}: ONNX Runtime has no op that rounds to it once")
    if frame.builder.opset < EIGHT_BITS_OPSET:
        raise frame.error(
            op, f"needs {name}, of opset {EIGHT_BITS_OPSET}: found --opset {frame.builder.opset}, leave it out"
        )
    target, limit = EIGHT_BITS[name], LIMITS.get(name)
    wide = x.to(DataType.FLOAT)
    shape = frame.builder.shape(wide.value)
    cast = frame.builder.node("Cast", [wide.value], target, shape, to=target.value, saturate=0)
    rounded = Term(frame.builder, frame.builder.node("Cast", [cast], DataType.FLOAT, shape, to=DataType.FLOAT.value))
    if limit is None:
        return rounded
    if name == "float8_e5m2":
        return (abs(wide) >= limit).choose(wide * math.inf, rounded)
    return (abs(wide) > limit).choose(wide.constant(math.nan), rounded)


def read_as_narrow(frame: Frame, op: Any) -> oir.Value | None:
    """bitcast_convert to or from a narrow type; None if neither is one.

    Bytes become eight-bit floats through a table of all of them, or two integers of four bits with the low one first.
    """
    operand, result = op.operands[0], op.results[0]
    source, target = (mlir.narrow_type(value.type) for value in (operand, result))
    if source is None and target is None:
        return None
    b = frame.builder
    byte = frame.dtype(operand) in (DataType.INT8, DataType.UINT8) and source is None
    if source == target:
        frame.shapes[result] = frame.shape(operand)
        return frame.compact(operand)
    if byte and target is not None and target.startswith("float8"):
        frame.shapes[result] = frame.shape(operand)
        table = np.arange(256, dtype=np.uint8).view(np.dtype(target)).astype(np.float32)
        places = b.cast(b.cast(frame.compact(operand), DataType.UINT8), DataType.INT32)
        return b.node("Gather", [b.constant(table), places], DataType.FLOAT, b.shape(places), axis=0)
    if byte and target in ("int4", "uint4"):
        frame.shapes[result] = (*frame.shape(operand), 2)
        x = Term(b, b.cast(frame.compact(operand), DataType.UINT8))
        x = Term(b, b.reshape(x.value, (*b.shape(x.value), 1)))
        nibbles = (x >> Term(b, b.constant(np.array([0, 4], np.uint8)))) & 15
        return ((nibbles.to(DataType.INT8) ^ 8) - 8 if target == "int4" else nibbles).value
    kinds = f"from {operand.type.element_type} to {result.type.element_type}"
    raise frame.error(op, f"{kinds}: the op's rule takes bytes to eight-bit floats and four-bit integers")
