"""Functions without an ONNX op, or that ONNX Runtime does not compute accurately in every type.

Each takes and returns float32 or float64, with an error of a few units in the last place.

ONNX Runtime's Where turns a -0 from its second input into +0, but keeps one from its third. So a value that may be -0
is always the last operand of ``choose`` here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import known
from swift_export.converter.rules.terms import Term

__all__ = [
    "atan2",
    "cbrt",
    "cosine",
    "elu",
    "exponential_minus_one",
    "exponential_minus_one_below_zero",
    "is_finite",
    "log_plus_one",
    "logistic",
    "mish",
    "round_nearest_afz",
    "sine",
    "softplus",
    "tan",
    "through_float32",
]

DataType = oir.DataType


def through_float32(function: Callable[..., Term], *operands: Term) -> Term:
    """Compute a function of 16-bit floats in float32 and round once."""
    dtype = operands[0].dtype
    if dtype not in (DataType.FLOAT16, DataType.BFLOAT16):
        return function(*operands)
    result = function(*(x.to(DataType.FLOAT) for x in operands))
    return Term(result.builder, result.builder.uncarried(result.value, dtype))


def is_finite(x: Term) -> Term:
    """Whether elements are neither infinite nor NaN."""
    return abs(x) < math.inf


def logistic(x: Term) -> Term:
    """1 / (1 + exp(-x)); ONNX Runtime's Sigmoid has no correct digit below -18."""
    return ((-x).apply("Exp") + 1).apply("Reciprocal")


def log_plus_one(x: Term) -> Term:
    """log(1 + x); the quotient compensates for the digits that 1 + x loses (W. Kahan, see Goldberg 1991, theorem 4)."""
    u = x + 1
    lost = u.equals(1) | u.equals(math.inf)
    return lost.opposite().choose(u.apply("Log") * (x / (u - 1)), x)


def exponential_minus_one(x: Term) -> Term:
    """exp(x) - 1; near zero, a quotient compensates for lost digits (W. Kahan)."""
    u = x.apply("Exp")
    near = u.equals(1).opposite().choose((u - 1) * (x / u.apply("Log")), x)
    return (abs(x) > 1).choose(u - 1, near)


def exponential_minus_one_below_zero(x: Term) -> Term:
    """exp(x) - 1 for x <= 0, by the hyperbolic tangent of x / 2, which keeps the digits of small ones."""
    t = (x * 0.5).apply("Tanh")
    return t * 2 / (1 - t)


def elu(x: Term, alpha: float = 1) -> Term:
    """alpha * (exp(x) - 1) below zero, else x."""
    if 0 < alpha <= 1:
        # Nowhere below x, for which Clip keeps -0: a maximum takes half the time of a choice.
        t = (x.apply("Clip", -math.inf, 0.0) * 0.5).apply("Tanh")
        return x.apply("Max", t * (2 * alpha) / (1 - t))
    t = (x * 0.5).apply("Tanh")
    return (x > 0).choose(x, t * (2 * alpha) / (1 - t))


def softplus(x: Term) -> Term:
    """log(1 + exp(x)); what the sum 1 + exp(-|x|) loses by rounding is added again."""
    power = (-abs(x)).apply("Exp")
    total = power + 1
    return x.apply("Max", 0.0) + (total.apply("Log") + (power - (total - 1)))


def mish(x: Term) -> Term:
    """x * tanh(softplus(x)) as a quotient of exponentials; from 20 on, the hyperbolic tangent is 1."""
    power = x.apply("Min", 20.0).apply("Exp")
    product = power * (power + 2)
    return x * (product / (product + 2))


def cbrt(x: Term) -> Term:
    """The cube root, with x's sign: a power, and one step of Newton's method for the digits that 1/3 lacks."""
    a = abs(x)
    y = a.apply("Pow", 1 / 3)
    y = y - (y - a / (y * y)) / 3
    # Not where the step is NaN, from 0 / 0 or inf / inf: 0 and inf are their own roots.
    return y.equals(y).choose((x < 0).choose(-y, y), x)


def round_nearest_afz(x: Term) -> Term:
    """Round to the nearest integer, halves away from zero."""
    even = x.apply("Round")
    rest = x - even
    # A half that was rounded towards zero.
    return rest.equals((x < 0).choose(x.constant(-0.5), 0.5)).choose(x + rest, even)


def atan2(y: Term, x: Term) -> Term:
    """The angle of the point (x, y) in (-pi, pi]; zeros and infinities as IEEE 754 defines."""
    lengths = known(x.value)
    if y.dtype == DataType.FLOAT and lengths is not None and (lengths == 1).all():
        return y.apply("Atan")
    height, length = abs(y), abs(x)
    steep = height > length
    small, large = steep.choose(length, height), steep.choose(height, length)
    # Two zeros or two infinities: the quotient would be NaN.
    quotient = small / large.equals(0).choose(1, large)
    quotient = (height.equals(length) & large.equals(math.inf)).choose(1, quotient)
    angle = _arctangent(quotient)
    angle = steep.choose(math.pi / 2 - angle, angle)
    angle = _positive(x).choose(angle, math.pi - angle)
    return _positive(y).choose(angle, -angle)


def _positive(x: Term) -> Term:
    """Whether the sign is plus; false for -0."""
    return x.equals(0).choose(x.apply("Reciprocal"), x) > 0


def _arctangent(q: Term) -> Term:
    """atan of numbers from 0 to 1, by Taylor's series from the nearest sixteenth."""
    if q.dtype == DataType.FLOAT:
        return q.apply("Atan")
    b = q.builder
    nearest = (q <= 1).choose(q * 16, 0).apply("Round")
    table = b.constant(np.arctan(np.arange(17) / 16))
    shape = b.shape(nearest.value)
    base = Term(b, b.node("Gather", [table, nearest.to(DataType.INT64).value], q.dtype, shape, axis=0))
    c = nearest * 0.0625
    r = (q - c) / (q * c + 1)
    return base + _series(r, [(-1) ** k / (2 * k + 1) for k in range(7)])


def _series(r: Term, coefficients: list[float]) -> Term:
    """r times a polynomial in r * r."""
    square = r * r
    total: Term | float = coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        total = total * square + coefficient
    # The leading coefficient is 1; adding it last keeps r's own digits.
    return r + r * (total * square)


PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459")


def _in_parts(number: Fraction, bits: int) -> list[float]:
    """Three floats that sum to the number: two of the given number of bits, and the rest."""
    parts = []
    for _ in range(2):
        unit = Fraction(2) ** (math.frexp(float(number))[1] - bits)
        parts.append(float(number // unit * unit))
        number -= Fraction(parts[-1])
    return [*parts, float(number)]


#: Products of the first two with integers up to 2**20 are exact.
HALF_PI = _in_parts(PI / 2, 33)


def sine(x: Term) -> Term:
    """sin of float64 by quarter turns; ONNX Runtime's has few correct digits near multiples of pi."""
    if x.dtype == DataType.FLOAT:
        return x.apply("Sin")
    turns, rest = _quarters(x)
    value = _odd(turns).choose(rest.apply("Cos"), rest.apply("Sin"))
    return (turns >= 2).choose(-value, value)


def cosine(x: Term) -> Term:
    """cos of float64 by quarter turns."""
    if x.dtype == DataType.FLOAT:
        return x.apply("Cos")
    turns, rest = _quarters(x)
    value = _odd(turns).choose(rest.apply("Sin"), rest.apply("Cos"))
    return (turns.equals(1) | turns.equals(2)).choose(-value, value)


def tan(x: Term) -> Term:
    """tan of float64 from sine and cosine; ONNX Runtime has only float32."""
    if x.dtype == DataType.FLOAT:
        return x.apply("Tan")
    turns, rest = _quarters(x)
    odd, sine, cosine = _odd(turns), rest.apply("Sin"), rest.apply("Cos")
    return odd.choose(-cosine, sine) / odd.choose(sine, cosine)


def _odd(turns: Term) -> Term:
    return turns.equals(1) | turns.equals(3)


def _quarters(x: Term) -> tuple[Term, Term]:
    """The quarter turns in an angle, modulo 4, and the rest, from -pi/4 to pi/4.

    Very large angles stay unchanged: there the runtime's own reduction is better.
    """
    turns = (x * (2 / math.pi)).apply("Round")
    near = (abs(x) < 1e6) & ~turns.equals(0)
    rest = x
    for part in HALF_PI:
        rest = rest - turns * part
    return near.choose(turns - (turns * 0.25).apply("Floor") * 4, 0), near.choose(rest, x)
