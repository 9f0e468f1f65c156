"""Converts elements to another type by value or by bits, and rounds floats to fewer digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.builder import known
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.elementwise import finish, require, terms
from swift_export.converter.rules.integers import bits_of
from swift_export.converter.rules.narrowing import narrowed, read_as_narrow
from swift_export.converter.rules.terms import FLOATS, SIGNED, UNSIGNED, Term, unsigned_like

__all__ = ["converted"]

DataType = oir.DataType


@rule("stablehlo.convert")
def convert(frame: Frame, op: Any) -> oir.Value:
    """By value: integers wrap around; floats are rounded to nearest, and saturate on conversion to integers."""
    (x,) = terms(frame, op)
    narrow = mlir.narrow_type(op.results[0].type)
    if narrow is not None and narrow != mlir.narrow_type(op.operands[0].type):
        return finish(frame, op, narrowed(frame, op, x, narrow))
    return finish(frame, op, converted(x, frame.dtype(op.results[0])))


def converted(x: Term, target: oir.DataType) -> Term:
    """Convert as XLA on CPU does where StableHLO leaves the result open; ONNX leaves more of it open."""
    elements = known(x.value)
    if elements is not None and elements.size == 1 and target in FLOATS - {DataType.FLOAT16}:
        return Term(x.builder, x.builder.constant(elements.astype(target.numpy())))
    if x.dtype in FLOATS and target in SIGNED | UNSIGNED:
        return _saturated(x.to(DataType.FLOAT) if x.dtype != DataType.DOUBLE else x, target)
    if x.dtype == DataType.DOUBLE and target == DataType.FLOAT16:
        return _halved(x)
    return x.to(target)


def _saturated(x: Term, target: oir.DataType) -> Term:
    """Floats truncated to integers and saturated; NaN gives 0."""
    ends = np.iinfo(target.numpy())
    # The first number beyond the upper end is a power of two and so a float; the end itself may not be.
    beyond = float(int(ends.max) + 1)
    inside = (x < beyond).choose(x, 0).apply("Max", float(ends.min)).to(target)
    return (x >= beyond).choose(int(ends.max), inside)


def _halved(x: Term) -> Term:
    """float64 to float16, rounded once.

    ONNX Runtime rounds to float32 first. That is wrong if the float32 is exactly between two float16 numbers: the
    right one is then the one nearer to x.
    """
    largest = float(np.finfo(np.float16).max)
    between = (abs(x) < 65520) & (abs(x) > largest)
    x = between.choose((x < 0).choose(x.constant(-largest), largest), x)
    single = x.to(DataType.FLOAT).to(DataType.DOUBLE)
    half = x.to(DataType.FLOAT16).to(DataType.DOUBLE)
    mirrored = single + single - half
    nearer = abs(mirrored - x) < abs(half - x)
    exists = mirrored.to(DataType.FLOAT16).to(DataType.DOUBLE).equals(mirrored)
    return (nearer & exists).choose(mirrored, half).to(DataType.FLOAT16)


@rule("stablehlo.bitcast_convert")
def bitcast_convert(frame: Frame, op: Any) -> oir.Value:
    """By bits; if widths differ, the last axis holds the parts of a wider element, the lowest bits first."""
    read = read_as_narrow(frame, op)
    if read is not None:
        return read
    (operand,) = op.operands
    source, target = frame.dtype(operand), frame.dtype(op.results[0])
    if (source == DataType.BOOL) != (target == DataType.BOOL):
        raise frame.error(op, f"from {source.name} to {target.name}: the bits of truth values are not defined")
    b = frame.builder
    if source.itemsize == target.itemsize:
        return finish(frame, op, Term(b, frame.compact(operand)).bits(target))
    narrow = 8 * int(min(source.itemsize, target.itemsize))
    ratio = 8 * int(max(source.itemsize, target.itemsize)) // narrow
    places = narrow * np.arange(ratio)
    if source.itemsize > target.itemsize:
        frame.shapes[op.results[0]] = (*frame.shape(operand), ratio)
        x = Term(b, frame.compact(operand)).bits(unsigned_like(source))
        x = bits_of(Term(b, b.reshape(x.value, (*b.shape(x.value), 1))))
        parts = x >> Term(b, b.constant(places.astype(x.dtype.numpy())))
        return parts.to(unsigned_like(target)).bits(target).value
    x = Term(b, frame.full(operand)).bits(unsigned_like(source))
    x = bits_of(x.to(unsigned_like(target)))
    shape = b.shape(x.value)[:-1]
    whole: Term | None = None
    for i, place in enumerate(places.tolist()):
        index = b.constant(np.asarray(i, np.int64))
        part = Term(b, b.node("Gather", [x.value, index], x.dtype, shape, axis=-1)) << place
        whole = part if whole is None else whole | part
    assert whole is not None
    frame.shapes[op.results[0]] = frame.shape(operand)[:-1]
    return whole.to(unsigned_like(target)).bits(target).value


#: Bits of the exponent and of the mantissa.
FIELDS = {DataType.FLOAT16: (5, 10), DataType.BFLOAT16: (8, 7), DataType.FLOAT: (8, 23), DataType.DOUBLE: (11, 52)}


@rule("stablehlo.reduce_precision", attributes=["exponent_bits", "mantissa_bits"])
def reduce_precision(frame: Frame, op: Any) -> oir.Value:
    """Floats rounded to fewer bits in their own type: too large ones become infinite, too small ones zero."""
    require(frame, op, FLOATS)
    exponent, mantissa = op.attributes["exponent_bits"].value, op.attributes["mantissa_bits"].value
    (x,) = terms(frame, op)
    return finish(frame, op, _reduced(x, exponent, mantissa))


def _reduced(x: Term, exponent: int, mantissa: int) -> Term:
    own_exponent, own_mantissa = FIELDS[x.dtype]
    mantissa = min(mantissa, own_mantissa)
    if exponent >= own_exponent and mantissa == own_mantissa:
        return x
    if x.dtype == DataType.FLOAT and (exponent, mantissa) == FIELDS[DataType.BFLOAT16]:
        return x.to(DataType.BFLOAT16).to(DataType.FLOAT)
    bits = x.bits(unsigned_like(x.dtype))
    sign = bits & (1 << (own_exponent + own_mantissa))
    size = bits ^ sign
    infinity = ((1 << own_exponent) - 1) << own_mantissa
    if mantissa < own_mantissa:
        # Half of the last remaining digit, minus one if that digit is even: halves are rounded to even.
        dropped = own_mantissa - mantissa
        last = (size & (1 << dropped)).equals(0).choose(size.constant(0), 1)
        size = (size + ((1 << (dropped - 1)) - 1) + last) & (infinity | (((1 << mantissa) - 1) << dropped))
    if exponent < own_exponent:
        bias, own_bias = (1 << (exponent - 1)) - 1, (1 << (own_exponent - 1)) - 1
        size = (size >= ((own_bias + bias + 1) << own_mantissa)).choose(infinity, size)
        size = (size < ((own_bias - bias + 1) << own_mantissa)).choose(0, size)
    return x.ask("IsNaN").choose(x, (size | sign).bits(x.dtype))
