"""Symbolic dimensions: polynomials in the unknown sizes of the inputs, and in functions of such polynomials.

Two unknown dimensions are equal exactly if their polynomials are equal: equality is never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Atom", "Call", "Dim", "Monomial", "Shape", "Size", "exact_quotient", "shape_size", "solved"]


@dataclass(frozen=True)
class Call:
    """A function of sizes that is not a polynomial; `size_functions` makes these.

    ``floordiv(a, b)`` and ``quotient(a, b)`` divide by a positive size, rounding down and towards zero. ``max(a, 0)``
    is never negative; ``positive(a)`` and ``nonzero(a)`` are 1 where the size is that, else 0.
    """

    function: str
    arguments: tuple[Size, ...]

    @property
    def symbols(self) -> set[str]:
        """The unknown sizes in the arguments."""
        return {name for size in self.arguments if isinstance(size, Dim) for name in size.symbols}

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number for these unknown sizes."""
        a, *rest = (size.at(sizes) if isinstance(size, Dim) else size for size in self.arguments)
        match self.function:
            case "floordiv":
                return a // rest[0]
            case "quotient":
                return abs(a) // rest[0] * (1 if a >= 0 else -1)
            case "max":
                return max(a, 0)
            case "positive":
                return int(a > 0)
            case _:
                return int(a != 0)

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))})"


Atom = str | Call
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, repr=False)
class Dim:
    """A non-constant polynomial with integer coefficients; constants are plain integers."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def symbol(name: str) -> Dim:
        """The unknown size ``name``."""
        return Dim((((name,), 1),))

    @staticmethod
    def call(function: str, *arguments: Size) -> Dim:
        """A function of sizes as it stands; `size_functions` simplifies."""
        return Dim((((Call(function, arguments),), 1),))

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
        """The unknown sizes in the polynomial and in its functions' arguments."""
        atoms = {atom for monomial, _ in self.terms for atom in monomial}
        return {name for atom in atoms for name in (atom.symbols if isinstance(atom, Call) else {atom})}

    @property
    def atom(self) -> Atom | None:
        """The symbol or function if the polynomial is nothing else."""
        ((monomial, k), *rest) = self.terms
        return monomial[0] if k == 1 and len(monomial) == 1 and not rest else None

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number for these unknown sizes."""
        return sum(
            k * math.prod(a.at(sizes) if isinstance(a, Call) else sizes[a] for a in monomial)
            for monomial, k in self.terms
        )

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for monomial, k in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + k
        return _normal(terms)

    def __mul__(self, other: Size) -> Size:
        terms: dict[Monomial, int] = {}
        for a, j in self.terms:
            for b, k in _terms(other):
                monomial = tuple(sorted(a + b, key=str))
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
            return ("-" if k < 0 else "+") + "*".join([*factors, *map(str, monomial)])

        return "".join(text(*term) for term in self.terms).removeprefix("+")

    #: In the shapes of messages too.
    __repr__ = __str__


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
    (factors, k) = divisor[0]
    terms: dict[Monomial, int] = {}
    for monomial, j in _terms(a):
        rest = list(monomial)
        for factor in factors:
            if factor not in rest:
                return None
            rest.remove(factor)
        if j % k:
            return None
        terms[tuple(rest)] = j // k
    return _normal(terms)


def solved(size: Size, known: Sequence[str] = ()) -> tuple[str, int, Size] | None:
    """(name, k, rest) if the size is ``k * name + rest`` with a positive k and all symbols of the rest are known, so
    that it determines the symbol; else None.
    """
    if not isinstance(size, Dim):
        return None
    for monomial, k in size.terms:
        if len(monomial) == 1 and isinstance(name := monomial[0], str) and k > 0 and name not in known:
            rest = size - Dim.symbol(name) * k
            found = rest.symbols if isinstance(rest, Dim) else set()
            return (name, k, rest) if found <= set(known) else None
    return None


def _terms(size: Size) -> Sequence[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Dim) else [((), int(size))] if size else []


def _normal(terms: Mapping[Monomial, int]) -> Size:
    kept = {m: k for m, k in terms.items() if k}
    if not set(kept) - {()}:
        return kept.get((), 0)
    # Ordered by degree, then by name, so that each polynomial has one spelling; the constant comes last.
    return Dim(tuple(sorted(kept.items(), key=lambda term: (-len(term[0]), _has_call(term[0]), *map(str, term[0])))))


def _has_call(monomial: Monomial) -> bool:
    return any(isinstance(atom, Call) for atom in monomial)
