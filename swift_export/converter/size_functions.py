"""Functions of sizes beyond polynomials, each in one spelling, and bounds on sizes.

All are made of five (`Call`): the remainder of ``a / b`` is ``a - b * floordiv(a, b)``, the smaller of two sizes is
their sum without the larger one, and truth values are numbers, 0 or 1, made of ``positive`` and ``nonzero``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from swift_export.converter.dims import Call, Dim, Monomial, Size, exact_quotient
from swift_export.converter.step_symbols import lowest

__all__ = [
    "NOTHING",
    "Facts",
    "applied",
    "floordiv",
    "least",
    "maximum",
    "minimum",
    "most",
    "nonzero",
    "positive",
    "quotient",
    "sign",
]

#: The most functions to replace by their bounds, one inside another.
DEEPEST = 8

Floors = Mapping[str, float]


@dataclass
class Facts:
    """What is known of the sizes of a program.

    A symbol is at least 0. ``floors`` has those with another bound. ``asserted`` has bounds that the program asserts;
    the symbols of those that a translation relies on are noted in ``used``. ``divisions`` has the operands and quotient
    of divisions that round towards zero, by quotient and by remainder.
    """

    floors: dict[str, float] = field(default_factory=dict)
    asserted: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    divisions: dict[Size, dict[tuple[Size, Size], Size]] = field(default_factory=dict)

    def not_negative(self, size: Size) -> bool:
        """Whether a size is never negative, by an assertion if need be."""
        if least(size, self.floors) >= 0:
            return True
        if not isinstance(size, Dim) or least(size, {**self.floors, **self.asserted}) < 0:
            return False
        self.used |= size.symbols & self.asserted.keys()
        return True


NOTHING = Facts()


def floordiv(a: Size, b: Size) -> Size:
    """The quotient by a positive size, rounded down."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = exact_quotient(a, b)
    if exact is not None:
        return exact
    if isinstance(a, int) or isinstance(b, Dim):
        return Dim.call("floordiv", a, b)
    # Multiples of the divisor leave the function, so that sizes that differ by one of these have one spelling.
    whole: Size = 0
    rest: Size = 0
    for monomial, k in a.terms:
        factor = Dim(((monomial, 1),)) if monomial else 1
        whole, rest = whole + factor * (k // b), rest + factor * (k % b)
    if isinstance(rest, int):
        return whole + rest // b
    common = math.gcd(b, *(k for monomial, k in rest.terms if monomial))
    if common > 1:
        parts = [Dim(((m, k // common),)) if m else k // common for m, k in rest.terms]
        return whole + floordiv(sum(parts), b // common)
    inner = rest - (constant := sum(k for monomial, k in rest.terms if not monomial))
    atom = inner.atom if isinstance(inner, Dim) else None
    if isinstance(atom, Call) and atom.function == "floordiv" and isinstance(divisor := atom.arguments[1], int):
        return whole + floordiv(atom.arguments[0] + constant * divisor, b * divisor)
    return whole + Dim.call("floordiv", rest, b)


def quotient(a: Size, b: Size, facts: Facts = NOTHING) -> Size:
    """The quotient by a positive size, rounded towards zero."""
    exact = exact_quotient(a, b)
    if exact is not None:
        return exact
    if least(a, facts.floors) >= 0:
        return floordiv(a, b)
    if most(a, facts.floors) <= 0:
        return -floordiv(-a, b)
    return Dim.call("quotient", a, b)


def maximum(a: Size, b: Size, facts: Facts = NOTHING) -> Size:
    """The larger size."""
    difference = a - b
    if facts.not_negative(difference):
        return a
    if facts.not_negative(-difference):
        return b
    assert isinstance(difference, Dim)
    # max(d, 0) and max(-d, 0) differ by d: the one whose first coefficient is positive stands for both.
    if difference.terms[0][1] < 0:
        a, b, difference = b, a, -difference
    return b + Dim.call("max", difference, 0)


def minimum(a: Size, b: Size, facts: Facts = NOTHING) -> Size:
    """The smaller size."""
    return a + b - maximum(a, b, facts)


def positive(a: Size, facts: Facts = NOTHING) -> Size:
    """1 if a size is positive, else 0."""
    low, high = least(a, facts.floors), most(a, facts.floors)
    if low >= 1 or high <= 0:
        return int(low >= 1)
    return a if (low, high) == (0, 1) else Dim.call("positive", a)


def sign(a: Size, facts: Facts = NOTHING) -> Size:
    """-1, 0 or 1."""
    return positive(a, facts) - positive(-a, facts)


def nonzero(a: Size, facts: Facts = NOTHING) -> Size:
    """0 if a size is 0, else 1."""
    low, high = least(a, facts.floors), most(a, facts.floors)
    if isinstance(a, int) or low >= 1 or high <= -1:
        return int(a != 0)
    # A size and its negative have one spelling.
    return a if (low, high) == (0, 1) else Dim.call("nonzero", a if a.terms[0][1] > 0 else -a)


def applied(function: str, arguments: Sequence[Size]) -> Size:
    """The function of a `Call`, of other arguments."""
    a, b = [*arguments, 0][:2]
    match function:
        case "floordiv":
            return floordiv(a, b)
        case "quotient":
            return quotient(a, b)
        case "max":
            return maximum(a, b)
        case "positive":
            return positive(a)
        case _:
            return nonzero(a)


def least(size: Size, floors: Floors) -> float:
    """A lower bound of a size over all steps and all values of its symbols, which are at least their ``floors``, else
    0.
    """
    if isinstance(size, int):
        return size
    return _least(_polynomial(lowest(size)), floors, DEEPEST)


def most(size: Size, floors: Floors) -> float:
    """An upper bound."""
    return -least(-size, floors)


Polynomial = dict[Monomial, Fraction]


def _polynomial(size: Size, factor: Fraction | int = 1) -> Polynomial:
    if isinstance(size, int):
        return {(): Fraction(size * factor)}
    return {monomial: Fraction(k * factor) for monomial, k in size.terms}


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    total = {m: a.get(m, Fraction(0)) + b.get(m, Fraction(0)) for m in (*a, *(m for m in b if m not in a))}
    return {m: k for m, k in total.items() if k}


def _least(terms: Polynomial, floors: Floors, depth: int) -> float:
    """The bound after each function has been replaced by the bounds of its own that are polynomials."""
    for monomial, k in terms.items():
        if len(monomial) == 1 and isinstance(monomial[0], Call):
            if depth == 0:
                return -math.inf
            rest = {m: j for m, j in terms.items() if m != monomial}
            bounds = (_lower if k > 0 else _upper)(monomial[0], floors, depth - 1)
            scaled = ({m: j * k for m, j in bound.items()} for bound in bounds)
            return max((_least(_sum(rest, bound), floors, depth - 1) for bound in scaled), default=-math.inf)
    total: float | Fraction = Fraction(0)
    for monomial, k in terms.items():
        factors = [
            _least({(atom,): Fraction(1)}, floors, depth - 1 if depth else 0)
            if isinstance(atom, Call)
            else floors.get(atom, 0)
            for atom in monomial
        ]
        if monomial and (k < 0 or min(factors) < 0):
            return -math.inf
        total += k * math.prod(int(factor) for factor in factors)
    return math.ceil(total)


def _lower(call: Call, floors: Floors, depth: int) -> Iterable[Polynomial]:
    a, *rest = call.arguments
    if call.function == "floordiv":
        low = _least(_polynomial(a), floors, depth)
        if isinstance(b := rest[0], int):
            yield _sum(_polynomial(a, Fraction(1, b)), {(): Fraction(1 - b, b)})
            if low > -math.inf:
                yield {(): Fraction(math.floor(Fraction(int(low), b)))}
        elif low >= 0:
            yield {}
    elif call.function != "quotient":
        yield {}
        if call.function == "max":
            yield _polynomial(a)


def _upper(call: Call, floors: Floors, depth: int) -> Iterable[Polynomial]:
    a, *rest = call.arguments
    if call.function == "floordiv" and isinstance(b := rest[0], int):
        yield _polynomial(a, Fraction(1, b))
    elif call.function == "max":
        low, high = (_least(_polynomial(a, k), floors, depth) * k for k in (1, -1))
        if low > -math.inf:
            yield _sum(_polynomial(a), {(): Fraction(max(0, -int(low)))})
        if high < math.inf:
            yield {(): Fraction(max(0, int(high)))}
    elif call.function in ("positive", "nonzero"):
        yield {(): Fraction(1)}
