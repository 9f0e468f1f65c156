"""Reads a value as a polynomial in another."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import inputs, made_by, scalar

__all__ = ["polynomial"]

Polynomial = dict[int, float]

#: Enough for the cubes in activations, in any form.
DEEPEST, HIGHEST = 8, 4


def polynomial(value: oir.Value, x: oir.Value, depth: int = DEEPEST) -> Polynomial | None:
    """Coefficients by exponent if ``value`` is a polynomial in ``x`` with constant coefficients, in any form."""
    if value is x:
        return {1: 1.0}
    constant = scalar(value)
    if constant is not None:
        return {0: constant}
    node = made_by(value, "Add", "Sub", "Mul", "Div", "Pow", "Neg")
    if node is None or depth == 0:
        return None
    operands = [polynomial(operand, x, depth - 1) for operand in inputs(node)]
    known = [p for p in operands if p is not None]
    if len(known) != len(operands):
        return None
    if node.op_type == "Neg":
        return _scaled(known[0], -1)
    a, b = known
    if node.op_type in ("Add", "Sub"):
        return _sum(a, b if node.op_type == "Add" else _scaled(b, -1))
    if node.op_type == "Mul":
        return _product(a, b)
    if b.keys() != {0}:
        return None
    if node.op_type == "Div":
        return _scaled(a, 1 / b[0]) if b[0] else None
    return _power(a, b[0])


def _scaled(a: Polynomial, factor: float) -> Polynomial:
    return {n: c * factor for n, c in a.items()}


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    return {n: a.get(n, 0.0) + b.get(n, 0.0) for n in a.keys() | b.keys()}


def _product(a: Polynomial, b: Polynomial) -> Polynomial | None:
    product: Polynomial = {}
    for n, c in a.items():
        for m, d in b.items():
            product[n + m] = product.get(n + m, 0.0) + c * d
    return product if max(product) <= HIGHEST else None


def _power(a: Polynomial, exponent: float) -> Polynomial | None:
    if exponent not in range(1, HIGHEST + 1):
        return None
    power: Polynomial | None = a
    for _ in range(int(exponent) - 1):
        power = _product(power, a) if power is not None else None
    return power
