"""Integer quotients, powers, shifts and bit counts as StableHLO and XLA define them where ONNX does not.

Rules of `elementwise` call these functions; all return elements of their first operand's type.
"""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.builder import known
from swift_export.converter.rules.terms import SIGNED, Term, unsigned_like

__all__ = [
    "count_leading_zeros",
    "divide",
    "popcnt",
    "power",
    "remainder",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
]

DataType = oir.DataType


def divide(a: Term, d: Term) -> Term:
    """The quotient rounded towards zero. Division by zero sets all bits; the lowest number divided by -1 is itself.

    ONNX Runtime uses the processor's division, which ends the whole process in both cases.
    """
    signed = a.dtype in SIGNED
    divisors = known(d.value)
    if divisors is not None and not (divisors == 0).any() and not (signed and (divisors == -1).any()):
        return a / d
    by_zero = d.equals(0)
    ones = -1 if signed else 2 ** width(a) - 1
    if not signed:
        return by_zero.choose(ones, a / by_zero.choose(1, d))
    by_minus_one = d.equals(-1)
    quotient = a / (by_zero | by_minus_one).choose(1, d)
    return by_zero.choose(ones, by_minus_one.choose(-a, quotient))


def remainder(a: Term, d: Term) -> Term:
    """The remainder of ``divide``, with the dividend's sign; division by zero returns the dividend.

    Neither form of ONNX Runtime's Mod is exact: one rounds down, the other computes 64 bits in float64.
    """
    return a - divide(a, d) * d


def power(a: Term, exponent: Term) -> Term:
    """Powers by products that wrap around; a negative power is the inverse rounded towards zero, and 0 for 0."""
    exponents = known(exponent.value)
    if exponents is not None and exponents.size == 1 and exponents.item() >= 0:
        return _constant_power(a, exponents.item())
    result, factor = a * 0 + 1, a
    for bit in range(width(exponent)):
        # The highest bit of a signed exponent is its sign.
        mask = -(2**bit) if exponent.dtype in SIGNED and bit == width(exponent) - 1 else 2**bit
        result = (exponent & mask).equals(0).choose(result, result * factor)
        factor = factor * factor
    if exponent.dtype not in SIGNED:
        return result
    odd = (exponent & 1).equals(1)
    inverse = a.equals(1).choose(1, a.equals(-1).choose(odd.choose(a, a * a), a * 0))
    return (exponent < 0).choose(inverse, result)


def _constant_power(a: Term, exponent: int) -> Term:
    result: Term | None = None
    factor = a
    while exponent:
        if exponent & 1:
            result = factor if result is None else result * factor
        exponent >>= 1
        if exponent:
            factor = factor * factor
    return a * 0 + 1 if result is None else result


def width(x: Term) -> int:
    """The number of bits of an element."""
    return 8 * int(x.dtype.itemsize)


def shift_left(x: Term, amount: Term) -> Term:
    """Shift left, filling with zeros; amounts from the width on leave no bit."""
    return _shifted(x, amount, "LEFT")


def shift_right_logical(x: Term, amount: Term) -> Term:
    """Shift right, filling with zeros for either sign; amounts from the width on leave no bit."""
    return _shifted(x, amount, "RIGHT")


def shift_right_arithmetic(x: Term, amount: Term) -> Term:
    """Shift right, filling with copies of the highest bit; amounts from the width on leave only copies."""
    signed = x.to(_signed_like(x))
    mask = (signed < 0).choose(-1, signed * 0)
    return (shift_right_logical(signed ^ mask, amount.to(signed.dtype)) ^ mask).to(x.dtype)


def _signed_like(x: Term) -> oir.DataType:
    return {8: DataType.INT8, 16: DataType.INT16, 32: DataType.INT32, 64: DataType.INT64}[width(x)]


def _shifted(x: Term, amount: Term, direction: str) -> Term:
    bits, places = bits_of(x), bits_of(amount)
    amounts = known(amount.value)
    inside = amounts is not None and bool(((amounts >= 0) & (amounts < width(x))).all())
    if inside:
        return _back(bits.apply("BitShift", places, direction=direction), x.dtype)
    # A shift by the width or more is undefined in ONNX Runtime, as in C.
    shifted = bits.apply("BitShift", places.apply("Min", width(x) - 1), direction=direction)
    return _back((places < width(x)).choose(shifted, 0), x.dtype)


def bits_of(x: Term) -> Term:
    """The elements as unsigned integers of 8, 32 or 64 bits, which ONNX Runtime shifts."""
    unsigned = x.to(unsigned_like(x.dtype))
    return unsigned.to(DataType.UINT32) if unsigned.dtype == DataType.UINT16 else unsigned


def _back(bits: Term, dtype: oir.DataType) -> Term:
    return bits.to(unsigned_like(dtype)).to(dtype)


def popcnt(x: Term) -> Term:
    """The number of set bits: sums of neighbouring fields of 1, 2, 4, ... bits."""
    return _back(_population(bits_of(x)), x.dtype)


def _population(bits: Term) -> Term:
    step = 1
    while step < width(bits):
        # Ones in the lower half of every field of 2 * step bits.
        mask = sum(((1 << step) - 1) << place for place in range(0, width(bits), 2 * step))
        bits = (bits & mask) + ((bits >> step) & mask)
        step *= 2
    return bits


def count_leading_zeros(x: Term) -> Term:
    """The number of zeros above the highest set bit."""
    bits = bits_of(x)
    step = 1
    while step < width(x):
        bits = bits | (bits >> step)
        step *= 2
    # Now all bits from the highest set one down are set.
    return _back(width(x) - _population(bits), x.dtype)
