"""Elementwise ops. They work on compact values: ONNX broadcasts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import known
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules import integers, special
from swift_export.converter.rules.terms import FLOATS, SIGNED, UNSIGNED, Term
from swift_export.converter.rules.weaving import woven

__all__ = ["compared", "extremum", "finish", "terms"]

DataType = oir.DataType

BOOL = frozenset({DataType.BOOL})
INTEGERS = SIGNED | UNSIGNED

#: Ops with the same meaning in ONNX, on floats.
PLAIN = {
    "stablehlo.ceil": "Ceil",
    "stablehlo.exponential": "Exp",
    "stablehlo.floor": "Floor",
    "stablehlo.log": "Log",
    "stablehlo.round_nearest_even": "Round",
    "stablehlo.sqrt": "Sqrt",
    "stablehlo.tanh": "Tanh",
}

#: Functions of floats that need several nodes.
COMPOSED: dict[str, Callable[[Term], Term]] = {
    "stablehlo.cbrt": special.cbrt,
    "stablehlo.cosine": special.cosine,
    # No ops of ONNX: `passes.whole` writes them out.
    "stablehlo.exponential_minus_one": lambda x: x.apply("Expm1"),
    "stablehlo.log_plus_one": lambda x: x.apply("Log1p"),
    "stablehlo.logistic": special.logistic,
    "stablehlo.round_nearest_afz": special.round_nearest_afz,
    "stablehlo.rsqrt": lambda x: x.apply("Sqrt").apply("Reciprocal"),
    "stablehlo.sine": special.sine,
    "stablehlo.tan": special.tan,
}

BITS = {"stablehlo.popcnt": integers.popcnt, "stablehlo.count_leading_zeros": integers.count_leading_zeros}

SHIFTS = {
    "stablehlo.shift_left": integers.shift_left,
    "stablehlo.shift_right_arithmetic": integers.shift_right_arithmetic,
    "stablehlo.shift_right_logical": integers.shift_right_logical,
}


def terms(frame: Frame, op: Any) -> list[Term]:
    """The op's operands, compact."""
    return [Term(frame.builder, frame.compact(operand)) for operand in op.operands]


def finish(frame: Frame, op: Any, result: Term, shape: Shape | None = None) -> oir.Value:
    """Note the result's symbolic shape, which a compact value does not show; by default the operands' shape."""
    if shape is None:
        shapes = [frame.shape(operand) for operand in op.operands]
        rank = max(map(len, shapes))
        shape = frame.result_shape(op, *[s for s in shapes if len(s) == rank])
    frame.shapes[op.results[0]] = shape
    return result.value


def require(frame: Frame, op: Any, allowed: frozenset[oir.DataType]) -> None:
    """Refuse element types for which the op is not defined."""
    dtype = frame.dtype(op.operands[-1])
    if dtype not in allowed:
        names = ", ".join(sorted(t.name for t in allowed))
        raise frame.error(op, f"elements of type {dtype.name}: the op's rule takes {names}")


def _default_accuracy(frame: Frame, op: Any) -> None:
    if "result_accuracy" in op.attributes and "mode<DEFAULT>" not in str(op.attributes["result_accuracy"]):
        raise frame.error(op, f"result_accuracy {op.attributes['result_accuracy']}: ONNX has no such setting")


@rule(*PLAIN, attributes=["result_accuracy"])
def plain(frame: Frame, op: Any) -> oir.Value:
    """One operand, one ONNX op of the same meaning."""
    require(frame, op, FLOATS)
    _default_accuracy(frame, op)
    (x,) = terms(frame, op)
    return finish(frame, op, x.apply(PLAIN[op.operation.name]))


@rule(*COMPOSED, attributes=["result_accuracy"])
def composed(frame: Frame, op: Any) -> oir.Value:
    """One operand, several nodes; 16-bit floats are computed in float32 throughout."""
    require(frame, op, FLOATS)
    _default_accuracy(frame, op)
    return finish(frame, op, special.through_float32(COMPOSED[op.operation.name], *terms(frame, op)))


@rule("stablehlo.atan2", attributes=["result_accuracy"])
def atan2(frame: Frame, op: Any) -> oir.Value:
    """atan2: the angle of a point."""
    require(frame, op, FLOATS)
    _default_accuracy(frame, op)
    return finish(frame, op, special.through_float32(special.atan2, *terms(frame, op)))


@rule("stablehlo.is_finite")
def is_finite(frame: Frame, op: Any) -> oir.Value:
    """Whether elements are neither infinite nor NaN."""
    require(frame, op, FLOATS)
    (x,) = terms(frame, op)
    return finish(frame, op, special.is_finite(x))


@rule("stablehlo.abs")
def absolute(frame: Frame, op: Any) -> oir.Value:
    """The absolute value; the lowest integer stays unchanged."""
    require(frame, op, FLOATS | INTEGERS)
    (x,) = terms(frame, op)
    return finish(frame, op, x if x.dtype in UNSIGNED else abs(x))


@rule("stablehlo.negate")
def negate(frame: Frame, op: Any) -> oir.Value:
    """The negative; integers wrap around."""
    require(frame, op, FLOATS | INTEGERS)
    (x,) = terms(frame, op)
    return finish(frame, op, -x)


@rule("stablehlo.sign")
def sign(frame: Frame, op: Any) -> oir.Value:
    """-1, 0 or 1; zeros keep their sign, and NaN stays."""
    require(frame, op, FLOATS | INTEGERS)
    (x,) = terms(frame, op)
    if x.dtype == DataType.INT64:
        # ONNX Runtime's Sign treats positive numbers from 2**31 on as negative.
        return finish(frame, op, (x > 0).to(x.dtype) - (x < 0).to(x.dtype))
    result = x.apply("Sign")
    # On floats, ONNX Runtime's Sign drops the sign of zero, and returns 0 for NaN in float16.
    return finish(frame, op, result.to(DataType.BOOL).choose(result, x) if x.dtype in FLOATS else result)


@rule("stablehlo.add", "stablehlo.multiply")
def add_or_multiply(frame: Frame, op: Any) -> oir.Value:
    """Sums and products; integers wrap around. On truth values: or, and."""
    require(frame, op, FLOATS | INTEGERS | BOOL)
    both = woven(frame, op) if op.operation.name == "stablehlo.add" else None
    if both is not None:
        return both
    a, b = terms(frame, op)
    if a.dtype == DataType.BOOL:
        return finish(frame, op, a | b if op.operation.name == "stablehlo.add" else a & b)
    return finish(frame, op, a + b if op.operation.name == "stablehlo.add" else a * b)


@rule("stablehlo.subtract")
def subtract(frame: Frame, op: Any) -> oir.Value:
    """Differences; integers wrap around."""
    require(frame, op, FLOATS | INTEGERS)
    a, b = terms(frame, op)
    return finish(frame, op, a - b)


@rule("stablehlo.divide")
def divide(frame: Frame, op: Any) -> oir.Value:
    """Quotients; for integers, rounded towards zero."""
    require(frame, op, FLOATS | INTEGERS)
    a, b = terms(frame, op)
    return finish(frame, op, a / b if a.dtype in FLOATS else integers.divide(a, b))


@rule("stablehlo.remainder")
def remainder(frame: Frame, op: Any) -> oir.Value:
    """The remainder of a division rounded towards zero."""
    require(frame, op, FLOATS | INTEGERS)
    a, b = terms(frame, op)
    return finish(frame, op, a.apply("Mod", b, fmod=1) if a.dtype in FLOATS else integers.remainder(a, b))


@rule("stablehlo.power", attributes=["result_accuracy"])
def power(frame: Frame, op: Any) -> oir.Value:
    """Powers; for integers, the low bits of the product."""
    require(frame, op, FLOATS | INTEGERS)
    _default_accuracy(frame, op)
    a, b = terms(frame, op)
    return finish(frame, op, a.apply("Pow", b) if a.dtype in FLOATS else integers.power(a, b))


@rule("stablehlo.maximum", "stablehlo.minimum")
def maximum_or_minimum(frame: Frame, op: Any) -> oir.Value:
    """The larger or smaller operand; NaN if one is NaN."""
    require(frame, op, FLOATS | INTEGERS | BOOL)
    a, b = terms(frame, op)
    return finish(frame, op, extremum("Max" if op.operation.name == "stablehlo.maximum" else "Min", a, b))


@rule("stablehlo.clamp")
def clamp(frame: Frame, op: Any) -> oir.Value:
    """min(max(x, low), high), in this order, as StableHLO defines it."""
    require(frame, op, FLOATS | INTEGERS | BOOL)
    low, x, high = terms(frame, op)
    shape = frame.result_shape(op, frame.shape(op.operands[1]))
    return finish(frame, op, extremum("Min", extremum("Max", x, low), high), shape)


def extremum(name: str, a: Term, b: Term) -> Term:
    """IEEE 754's maximum or minimum ("Max", "Min"): NaN if one is NaN, with -0 less than +0.

    ONNX leaves zeros open. ONNX Runtime returns NaN for NaN; of two equal numbers, it returns a constant second
    operand, in float32 and float64.
    """
    if a.dtype == DataType.BOOL:
        return a | b if name == "Max" else a & b
    if a.dtype not in FLOATS:
        return a.apply(name, b)
    for x, constant in ((a, b), (b, a)):
        if not _holds_zero(constant):
            return x.apply(name, constant)
    return special.through_float32(partial(_extremum_of_zeros, name), a, b)


def _holds_zero(constant: Term) -> bool:
    elements = known(constant.value)
    return elements is None or bool((elements == 0).any())


def _extremum_of_zeros(name: str, a: Term, b: Term) -> Term:
    for x, constant in ((a, b), (b, a)):
        elements = known(constant.value)
        if elements is not None and (np.signbit(elements[elements == 0]) == (name == "Min")).all():
            # Its zeros take precedence over zeros of both signs.
            return x.apply(name, constant)
        if name == "Min" and elements is not None and not np.isnan(elements).any() and not np.signbit(elements).any():
            # A -0 stays one. Where's third input keeps it; its second one does not.
            return (constant < x).choose(constant, x)
    either = a.apply(name, b)
    # Infinite for a zero of the preferred sign.
    inverse = a.apply("Reciprocal").apply(name, b.apply("Reciprocal"))
    if name == "Max":
        return inverse.equals(math.inf).choose(either.apply("Max", 0.0), either)
    return (inverse > -math.inf).choose(either, either.apply("Min", -0.0))


LOGIC: dict[str, Callable[[Term, Term], Term]] = {
    "stablehlo.and": lambda a, b: a & b,
    "stablehlo.or": lambda a, b: a | b,
    "stablehlo.xor": lambda a, b: a ^ b,
}


@rule(*LOGIC)
def logic(frame: Frame, op: Any) -> oir.Value:
    """Logic on truth values, or on each bit of integers."""
    require(frame, op, INTEGERS | BOOL)
    both = woven(frame, op) if op.operation.name == "stablehlo.or" else None
    if both is not None:
        return both
    return finish(frame, op, LOGIC[op.operation.name](*terms(frame, op)))


@rule("stablehlo.not")
def negation(frame: Frame, op: Any) -> oir.Value:
    """Logic on truth values, or on each bit of integers."""
    require(frame, op, INTEGERS | BOOL)
    both = woven(frame, op) if op.operation.name == "stablehlo.or" else None
    if both is not None:
        return both
    (x,) = terms(frame, op)
    return finish(frame, op, ~x)


@rule(*SHIFTS)
def shift(frame: Frame, op: Any) -> oir.Value:
    """Shifts of integers; amounts from the width on leave no bit."""
    require(frame, op, INTEGERS)
    return finish(frame, op, SHIFTS[op.operation.name](*terms(frame, op)))


@rule(*BITS)
def bits(frame: Frame, op: Any) -> oir.Value:
    """Counts of bits in integers."""
    require(frame, op, INTEGERS)
    return finish(frame, op, BITS[op.operation.name](*terms(frame, op)))


@rule("stablehlo.compare", attributes=["comparison_direction", "compare_type"])
def compare(frame: Frame, op: Any) -> oir.Value:
    """Comparisons; of floats, as IEEE 754 defines, or in its total order."""
    kind = str(op.attributes["compare_type"]) if "compare_type" in op.attributes else ""
    direction = str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
    a, b = terms(frame, op)
    if "TOTALORDER" in kind:
        a, b = _total_order(a), _total_order(b)
    return finish(frame, op, compared(direction, a, b))


def compared(direction: str, a: Term, b: Term) -> Term:
    """EQ, NE, LT, LE, GT or GE. Comparisons with NaN are false, except NE; false is less than true."""
    if direction == "EQ":
        return a.equals(b)
    if direction == "NE":
        return ~a.equals(b)
    if direction in ("GT", "GE"):
        return compared({"GT": "LT", "GE": "LE"}[direction], b, a)
    if a.dtype == DataType.BOOL:
        return ~a & b if direction == "LT" else ~a | b
    return a < b if direction == "LT" else a <= b


def _total_order(x: Term) -> Term:
    """Integers in the order of IEEE 754-2008, 5.10: -NaN < -inf < ... < -0 < 0 < ... < inf < NaN."""
    bits = x.bits({2: DataType.INT16, 4: DataType.INT32, 8: DataType.INT64}[int(x.dtype.itemsize)])
    return (bits < 0).choose(bits ^ (2 ** (8 * int(x.dtype.itemsize) - 1) - 1), bits)


@rule("stablehlo.select")
def select(frame: Frame, op: Any) -> oir.Value:
    """Select from the second or third operand; a scalar condition applies to all elements.

    By ONNX, Where copies elements unchanged; ONNX Runtime's turns a -0 in the second input into +0.
    """
    condition, a, b = terms(frame, op)
    shape = frame.result_shape(op, *[frame.shape(v) for v in op.operands[1:]])
    return finish(frame, op, condition.choose(a, b), shape)


@rule("stablehlo.real", "stablehlo.imag")
def part_of_a_real_number(frame: Frame, op: Any) -> oir.Value:
    """The parts of a float: itself, and 0. Complex numbers are split before."""
    require(frame, op, FLOATS)
    (x,) = terms(frame, op)
    return finish(frame, op, x if op.operation.name == "stablehlo.real" else x.constant(0))
