"""Recognises erfc in float32, of which JAX writes out the definition: about 60 ops."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.templates import Template, match

__all__ = ["complement_of"]

#: The definition's polynomials, the highest power first: of z² in (1 - erfc(z)) / z for |z| < 1; of 1 / z² in
#: exp(z²) * |z| * erfc(|z|) for |z| < 2, and beyond.
NEAR = (7.85386146e-5, -8.0101937e-4, 0.00518832775, -0.0268538129, 0.112835854, -0.37612626, 1.12837911)
MIDDLE = (
    *(0.02326820, -0.138703942, 0.368742466, -0.582473278, 0.621000468, -0.494451523, 0.340487987),
    *(-0.274112701, 0.563825965),
)
FAR = (-10.477664, 12.9771996, -7.49551868, 2.92101908, -1.01526523, 0.42184633, -0.282076746, 0.564189494)
#: exp of less than this is 0.
LOWEST = -88.7228394


def complement_of(value: oir.Value) -> oir.Value | None:
    """z if a value is erfc(z) by the definition that JAX and StableHLO write for it."""
    found = match(value, DEFINITION)
    return None if found is None else found["z"]


def _definition() -> Template:
    square: Template = ("Mul", "z", "z")
    inverse: Template = ("Div", 1.0, square)
    size: Template = ("Abs", "z")
    outer = ("Where", ("Less", size, 2.0), _polynomial(MIDDLE, inverse), _polynomial(FAR, inverse))
    tail: Template = ("Mul", ("Mul", ("Exp", ("Neg", square)), ("Div", 1.0, size)), outer)
    tail = ("Where", ("Less", ("Neg", square), LOWEST), 0.0, tail)
    tails: Template = ("Where", ("Less", "z", 0.0), ("Sub", 2.0, tail), tail)
    return ("Where", ("Less", size, 1.0), ("Sub", 1.0, ("Mul", "z", _polynomial(NEAR, square))), tails)


def _polynomial(coefficients: tuple[float, ...], x: Template) -> Template:
    total: Template = coefficients[0]
    for coefficient in coefficients[1:]:
        total = ("Add", ("Mul", total, x), coefficient)
    return total


DEFINITION = _definition()
