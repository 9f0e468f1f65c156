"""Elementwise ops. They work on compact values: ONNX broadcasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.lowering.onnx.builder import broadcast_shapes
from swift_export.lowering.onnx.frame import Frame, rule
from swift_export.lowering.onnx.module import constant_array

__all__: list[str] = []

FLOATS = {oir.DataType.FLOAT, oir.DataType.DOUBLE, oir.DataType.FLOAT16, oir.DataType.BFLOAT16}
INTEGERS = {oir.DataType.INT32, oir.DataType.INT64}

UNARY = {
    "stablehlo.abs": "Abs",
    "stablehlo.ceil": "Ceil",
    "stablehlo.cosine": "Cos",
    "stablehlo.exponential": "Exp",
    "stablehlo.floor": "Floor",
    "stablehlo.log": "Log",
    "stablehlo.logistic": "Sigmoid",
    "stablehlo.negate": "Neg",
    "stablehlo.round_nearest_even": "Round",
    "stablehlo.sine": "Sin",
    "stablehlo.sqrt": "Sqrt",
    "stablehlo.tan": "Tan",
    "stablehlo.tanh": "Tanh",
    "chlo.erf": "Erf",
}

BINARY = {
    "stablehlo.add": "Add",
    "stablehlo.divide": "Div",
    "stablehlo.maximum": "Max",
    "stablehlo.minimum": "Min",
    "stablehlo.multiply": "Mul",
    "stablehlo.power": "Pow",
    "stablehlo.subtract": "Sub",
}
#: On integers these differ between StableHLO, ONNX and its runtimes where a divisor is 0 or an exponent negative.
FLOAT_ONLY = {"stablehlo.divide", "stablehlo.power"}

LOGIC = {"stablehlo.and": "And", "stablehlo.or": "Or", "stablehlo.xor": "Xor"}

COMPARISONS = {"EQ": "Equal", "GT": "Greater", "GE": "GreaterOrEqual", "LT": "Less", "LE": "LessOrEqual"}


def _finish(frame: Frame, op: Any, value: oir.Value) -> oir.Value:
    """Note the result's symbolic shape, which a compact value does not show."""
    shapes = [frame.shape(operand) for operand in op.operands]
    rank = max(map(len, shapes))
    frame.shapes[op.results[0]] = frame.result_shape(op, *[s for s in shapes if len(s) == rank])
    return value


def _require(frame: Frame, op: Any, operand: Any, allowed: set[oir.DataType]) -> None:
    dtype = frame.dtype(operand)
    if dtype not in allowed:
        raise frame.error(op, f"elements of type {dtype.name}: the op's rule takes {_names(allowed)}")


def _names(types: set[oir.DataType]) -> str:
    return ", ".join(sorted(t.name for t in types))


def _default_accuracy(frame: Frame, op: Any) -> None:
    if "result_accuracy" in op.attributes and "mode<DEFAULT>" not in str(op.attributes["result_accuracy"]):
        raise frame.error(op, f"result_accuracy {op.attributes['result_accuracy']}: ONNX has no such setting")


@rule(*UNARY, attributes=["result_accuracy"])
def unary(frame: Frame, op: Any) -> oir.Value:
    """One operand, one ONNX op of the same meaning."""
    signed = op.operation.name in ("stablehlo.abs", "stablehlo.negate")
    _require(frame, op, op.operands[0], FLOATS | INTEGERS if signed else FLOATS)
    _default_accuracy(frame, op)
    return _finish(frame, op, frame.builder.same_type(UNARY[op.operation.name], frame.compact(op.operands[0])))


@rule(*BINARY)
def binary(frame: Frame, op: Any) -> oir.Value:
    """Two operands, one ONNX op of the same meaning."""
    name = op.operation.name
    _require(frame, op, op.operands[0], FLOATS if name in FLOAT_ONLY else FLOATS | INTEGERS)
    return _finish(frame, op, frame.builder.same_type(BINARY[name], *map(frame.compact, op.operands)))


@rule("stablehlo.rsqrt", attributes=["result_accuracy"])
def rsqrt(frame: Frame, op: Any) -> oir.Value:
    """1 / sqrt(x)."""
    _require(frame, op, op.operands[0], FLOATS)
    _default_accuracy(frame, op)
    root = frame.builder.same_type("Sqrt", frame.compact(op.operands[0]))
    return _finish(frame, op, frame.builder.same_type("Reciprocal", root))


@rule(*LOGIC)
def logic(frame: Frame, op: Any) -> oir.Value:
    """Truth values only; bitwise ops on integers have no rule."""
    _require(frame, op, op.operands[0], {oir.DataType.BOOL})
    return _finish(frame, op, frame.builder.same_type(LOGIC[op.operation.name], *map(frame.compact, op.operands)))


@rule("stablehlo.not")
def negation(frame: Frame, op: Any) -> oir.Value:
    """Truth values only."""
    _require(frame, op, op.operands[0], {oir.DataType.BOOL})
    return _finish(frame, op, frame.builder.same_type("Not", frame.compact(op.operands[0])))


@rule("stablehlo.compare", attributes=["comparison_direction", "compare_type"])
def compare(frame: Frame, op: Any) -> oir.Value:
    """IEEE comparison: any comparison with NaN but NE is false."""
    _require(frame, op, op.operands[0], FLOATS | INTEGERS | {oir.DataType.BOOL})
    kind = str(op.attributes["compare_type"]) if "compare_type" in op.attributes else ""
    if "TOTALORDER" in kind:
        raise frame.error(op, "compare_type TOTALORDER: ONNX compares as IEEE 754 does")
    direction = str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
    a, b = map(frame.compact, op.operands)
    if a.dtype == oir.DataType.BOOL and direction not in ("EQ", "NE"):
        raise frame.error(op, f"comparison_direction {direction}: ONNX does not order truth values")
    shape = broadcast_shapes(frame.builder.shape(a), frame.builder.shape(b))
    value = frame.builder.node(COMPARISONS.get(direction, "Equal"), [a, b], oir.DataType.BOOL, shape)
    return _finish(frame, op, frame.builder.same_type("Not", value) if direction == "NE" else value)


@rule("stablehlo.select")
def select(frame: Frame, op: Any) -> oir.Value:
    """Take from the second or third operand; a scalar condition holds for all elements."""
    condition, a, b = map(frame.compact, op.operands)
    assert a.dtype is not None
    shape = broadcast_shapes(*map(frame.builder.shape, (condition, a, b)))
    return _finish(frame, op, frame.builder.node("Where", [condition, a, b], a.dtype, shape))


@rule("stablehlo.clamp")
def clamp(frame: Frame, op: Any) -> oir.Value:
    """min(max(x, low), high), in this order, as StableHLO defines it."""
    _require(frame, op, op.operands[1], FLOATS | INTEGERS)
    low, x, high = map(frame.compact, op.operands)
    return _finish(frame, op, frame.builder.same_type("Min", frame.builder.same_type("Max", x, low), high))


@rule("stablehlo.convert")
def convert(frame: Frame, op: Any) -> oir.Value:
    """What ONNX defines for every element: floats among each other, widening integers, from truth values."""
    source, target = frame.dtype(op.operands[0]), frame.dtype(op.results[0])
    value = frame.compact(op.operands[0])
    if target == oir.DataType.BOOL and source != target:
        # StableHLO: true where not zero, NaN included.
        zero = frame.builder.constant(np.zeros((), source.numpy()))
        equal = frame.builder.node("Equal", [value, zero], target, frame.builder.shape(value))
        return _finish(frame, op, frame.builder.same_type("Not", equal))
    widening = {source, target} <= INTEGERS and target.itemsize >= source.itemsize
    if not (source == oir.DataType.BOOL or target in FLOATS or widening or source == target):
        raise frame.error(op, f"from {source.name} to {target.name}: ONNX leaves some of its results undefined")
    return _finish(frame, op, frame.builder.cast(value, target))


@rule("stablehlo.constant", attributes=["value"])
def constant(frame: Frame, op: Any) -> oir.Value:
    """Dense elements; a splat stays a scalar."""
    array = constant_array(op.attributes["value"])
    frame.shapes[op.results[0]] = tuple(op.results[0].type.shape)
    return frame.builder.constant(array)
