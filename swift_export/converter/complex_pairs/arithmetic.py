"""Elementwise functions of complex numbers, in terms of their real and imaginary parts.

Formulas follow XLA where the StableHLO specification leaves rounding or special values open. JAX expands most functions
itself; MLIR's own pass expands exponentials, logarithms and square roots of other modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from swift_export.converter.complex_pairs.real import Real, where

__all__ = ["FUNCTIONS", "Pair"]


class Pair(NamedTuple):
    """A complex tensor: real and imaginary parts."""

    re: Real
    im: Real


def multiply(a: Pair, b: Pair) -> Pair:
    """Four products, as XLA computes it."""
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def divide(a: Pair, b: Pair) -> Pair:
    """Smith's method: no square of the divisor, which would overflow or vanish too early."""
    if b.re.number is not None and b.im.number is not None:
        if b.im.number == 0 and b.re.number != 0:
            # XLA multiplies by the reciprocal of a constant.
            zero = b.im / b.re
            return Pair(a.re / b.re - a.im * zero, a.im / b.re + a.re * zero)
        return _quotient(a, b) if abs(b.re.number) >= abs(b.im.number) else _quotient(_turned(a), _turned(b))
    tall = abs(b.im).compare("GT", abs(b.re))
    return _quotient(*(Pair(*map(partial(where, tall), _turned(z), z)) for z in (a, b)))


def _quotient(a: Pair, b: Pair) -> Pair:
    """``a / b`` for a divisor whose real part is the larger one."""
    # By zero, the parts become infinite, or NaN; the signs of zeros count.
    usual = b.re.compare("NE", 0.0)
    ratio = where(usual, b.im / b.re, b.im)
    scale = where(usual, b.re + b.im * ratio, b.re)
    return Pair((a.re + a.im * ratio) / scale, (a.im - a.re * ratio) / scale)


def _turned(z: Pair) -> Pair:
    """``-i z``."""
    return Pair(z.im, -z.re)


def magnitude(z: Pair) -> Real:
    """``|z|``, scaled by the larger part."""
    a, b = abs(z.re), abs(z.im)
    large, small = a.binary("maximum", b), a.binary("minimum", b)
    # Equal parts may both be 0 or infinite.
    ratio = where(large.compare("EQ", small), large.constant(1.0), small / large)
    return large * (ratio * ratio + 1.0).unary("sqrt")


def angle(z: Pair) -> Real:
    """The argument, from -pi to pi."""
    return z.im.binary("atan2", z.re)


def sign(z: Pair) -> Pair:
    """``z / |z|``; 0 stays 0."""
    size = magnitude(z)
    zero = size.compare("EQ", 0.0)
    return Pair(where(zero, z.re, z.re / size), where(zero, z.im, z.im / size))


def exponential(z: Pair) -> Pair:
    """``exp(a) * (cos(b) + i sin(b))``; a real number stays real."""
    size = z.re.unary("exponential")
    return Pair(size * z.im.unary("cosine"), where(z.im.compare("EQ", 0.0), z.im, size * z.im.unary("sine")))


def exponential_minus_one(z: Pair) -> Pair:
    """Without cancellation near 0: ``cos(b) - 1`` is ``-2 sin(b / 2) ** 2``."""
    half = (z.im * 0.5).unary("sine")
    grown = z.re.unary("exponential_minus_one")
    re = grown * z.im.unary("cosine") - half * half * 2.0
    return Pair(re, where(z.im.compare("EQ", 0.0), z.im, (grown + 1.0) * z.im.unary("sine")))


def _cosh_sinh(x: Real) -> tuple[Real, Real]:
    up, down = x.unary("exponential_minus_one"), (-x).unary("exponential_minus_one")
    return (up + down) * 0.5 + 1.0, (up - down) * 0.5


def sine(z: Pair) -> Pair:
    """``sin(a) cosh(b) + i cos(a) sinh(b)``."""
    cosh, sinh = _cosh_sinh(z.im)
    return Pair(z.re.unary("sine") * cosh, z.re.unary("cosine") * sinh)


def cosine(z: Pair) -> Pair:
    """``cos(a) cosh(b) - i sin(a) sinh(b)``."""
    cosh, sinh = _cosh_sinh(z.im)
    return Pair(z.re.unary("cosine") * cosh, -(z.re.unary("sine") * sinh))


def tanh(z: Pair) -> Pair:
    """By tanh of the real and tan of the imaginary part, which do not overflow."""
    t, s = z.re.unary("tanh"), z.im.unary("sine") / z.im.unary("cosine")
    ts = t * s
    scale = ts * ts + 1.0
    return Pair(t * (s * s + 1.0) / scale, s * ((t + 1.0) * (-t + 1.0)) / scale)


def tan(z: Pair) -> Pair:
    """``-i tanh(i z)``."""
    turned = tanh(Pair(-z.im, z.re))
    return Pair(turned.im, -turned.re)


def logistic(z: Pair) -> Pair:
    """``1 / (1 + exp(-z))``."""
    grown = exponential(Pair(-z.re, -z.im))
    return divide(Pair(z.re.constant(1.0), z.re.constant(0.0)), Pair(grown.re + 1.0, grown.im))


def rsqrt(z: Pair) -> Pair:
    """``|z| ** -0.5`` at half the opposite angle; for 0, infinite at no angle."""
    size, half = magnitude(z), angle(z) * -0.5
    zero, root = size.compare("EQ", 0.0), size.unary("rsqrt")
    infinite, none = root.constant(math.inf), root.constant(math.nan)
    return Pair(where(zero, infinite, root * half.unary("cosine")), where(zero, none, root * half.unary("sine")))


def power(z: Pair, exponent: Pair) -> Pair:
    """``exp(exponent * log(z))``; 0 to a positive real power is 0, anything to the power of 0 is 1."""
    size, turn = magnitude(z), angle(z)
    grown = size.binary("power", exponent.re) * (-(exponent.im * turn)).unary("exponential")
    turned = exponent.re * turn + exponent.im * size.unary("log")
    real, unit = exponent.im.compare("EQ", 0.0), exponent.re.compare("EQ", 0.0)
    # 0 to a positive power, and anything to the power of 0.
    vanished = size.compare("EQ", 0.0).binary("and", exponent.re.compare("GT", 0.0))
    plain = real.binary("and", unit.binary("or", vanished))
    return Pair(
        where(plain, where(unit, size.constant(1.0), 0.0), grown * turned.unary("cosine")),
        where(plain, size.constant(0.0), grown * turned.unary("sine")),
    )


#: Functions by the op that they compute, without the dialect's name.
FUNCTIONS: dict[str, Callable[..., Pair | Real]] = {
    "abs": magnitude,
    "cosine": cosine,
    "divide": divide,
    "exponential": exponential,
    "exponential_minus_one": exponential_minus_one,
    "logistic": logistic,
    "multiply": multiply,
    "power": power,
    "rsqrt": rsqrt,
    "sign": sign,
    "sine": sine,
    "tan": tan,
    "tanh": tanh,
}
