"""Symbolic dimensions: polynomials in the unknown sizes of the inputs.

Two unknown dimensions are equal exactly if their polynomials are equal: equality is never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Dim", "Shape", "Size", "exact_quotient", "shape_size", "solved"]

Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Dim:
    """A non-constant polynomial with integer coefficients; constants are plain integers."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def symbol(name: str) -> Dim:
        """The unknown size ``name``."""
        return Dim((((name,), 1),))

    @staticmethod
    def parse(text: str) -> Size:
        """A polynomial as jax writes it, like ``2*b + 1`` or ``a*b^2 - a``; anything else is one symbol."""
        if not re.fullmatch(r"\S+( [+-] \S+)*", text):
            return Dim.symbol(text)
        terms: dict[Monomial, int] = {}
        for sign, term in re.findall(r"(^| [+-] )(\S+)", text):
            names: list[str] = []
            k = -1 if "-" in sign else 1
            for factor in term.split("*"):
                base, _, power = factor.partition("^")
                if base.isdecimal() and not power:
                    k *= int(base)
                elif base.isidentifier() and (power or "1").isdecimal():
                    names += [base] * int(power or 1)
                else:
                    return Dim.symbol(text)
            monomial = tuple(sorted(names))
            terms[monomial] = terms.get(monomial, 0) + k
        return _normal(terms) if terms else Dim.symbol(text)

    @property
    def symbols(self) -> set[str]:
        """The unknown sizes in the polynomial."""
        return {name for monomial, _ in self.terms for name in monomial}

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for monomial, k in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + k
        return _normal(terms)

    def __mul__(self, other: Size) -> Size:
        terms: dict[Monomial, int] = {}
        for a, j in self.terms:
            for b, k in _terms(other):
                monomial = tuple(sorted(a + b))
                terms[monomial] = terms.get(monomial, 0) + j * k
        return _normal(terms)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (other * -1)

    def __rsub__(self, other: int) -> Size:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        def text(monomial: Monomial, k: int) -> str:
            factors = [str(abs(k))] if abs(k) != 1 or not monomial else []
            return ("-" if k < 0 else "+") + "*".join([*factors, *monomial])

        return "".join(text(*term) for term in self.terms).removeprefix("+")


Size = int | Dim
Shape = tuple[Size, ...]


def shape_size(shape: Sequence[Size]) -> Size:
    """The number of elements."""
    return math.prod(shape)


def exact_quotient(a: Size, b: Size) -> Size | None:
    """``a / b`` if b is a monomial that divides every term of a, else None."""
    divisor = _terms(b)
    if len(divisor) != 1 or divisor[0][1] == 0:
        return None
    (names, k) = divisor[0]
    terms: dict[Monomial, int] = {}
    for monomial, j in _terms(a):
        rest = list(monomial)
        for name in names:
            if name not in rest:
                return None
            rest.remove(name)
        if j % k:
            return None
        terms[tuple(rest)] = j // k
    return _normal(terms)


def solved(size: Dim) -> tuple[str, int, int] | None:
    """(name, k, c) if the size is ``k * name + c`` with a positive k, so that it determines the symbol; else None."""
    terms = dict(size.terms)
    c = terms.pop((), 0)
    if len(terms) != 1:
        return None
    ((monomial, k),) = terms.items()
    return (monomial[0], k, c) if len(monomial) == 1 and k > 0 else None


def _terms(size: Size) -> Sequence[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Dim) else [((), size)] if size else []


def _normal(terms: Mapping[Monomial, int]) -> Size:
    kept = {m: k for m, k in terms.items() if k}
    if not set(kept) - {()}:
        return kept.get((), 0)
    # Ordered by degree, then by name, so that each polynomial has one spelling; the constant comes last.
    return Dim(tuple(sorted(kept.items(), key=lambda term: (-len(term[0]), term[0]))))
