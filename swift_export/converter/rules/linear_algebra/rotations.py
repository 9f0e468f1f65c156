"""Jacobi's rotations: pairs of rows are made orthogonal, or a symmetric matrix diagonal, until nothing is left to turn.

All rows turn at once, in disjoint pairs: the first half of the rows against the second. After each round the rows
change places as the players of a tournament do, the first one staying, so that every row meets every other in a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx_ir as oir

from swift_export.converter.rules.linear_algebra.complex_terms import Complex, conjugate, size
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    largest,
    loop,
    picked,
    precision,
    shape,
    total,
)
from swift_export.converter.rules.terms import Term

__all__ = ["Angles", "angles", "in_range", "padded", "places_after", "ranked", "rotated", "rotations", "trimmed"]

DataType = oir.DataType

#: Of each pair in a round: the sine s and 1 - c with the cosine c, as columns. In this form, Rutishauser's, small
#: angles add small errors. A complex sine has the phase of what the pair shares.
Angles: TypeAlias = tuple[Term, Term]

#: A round: from what it reads and its state, to the state.
Round: TypeAlias = Callable[..., Sequence[Term]]

#: Eight sweeps are usual. LAPACK's own limit for Jacobi's method is 30.
SWEEPS = 30

#: Sweeps of at most this many rounds are unrolled: matrices of up to four rows.
UNROLLED = 3


#: By type: powers of two up to this one, and their reciprocals, are normal numbers.
EXPONENTS = {DataType.FLOAT: 120, DataType.DOUBLE: 1000}


def in_range(a: Term) -> tuple[Term, Term]:
    """The matrix times a power of two, and that power: its largest element is about 1, so that no square overflows, nor
    vanishes beside it.
    """
    limit = EXPONENTS[a.dtype]
    exponent = (largest(size(a), ROWS, COLUMNS).apply("Log") * (1 / math.log(2))).apply("Floor")
    exponent = exponent.apply("Max", exponent.constant(-limit)).apply("Min", exponent.constant(limit))
    scale = exponent.constant(2.0).apply("Pow", -exponent)
    return a * scale, scale


def padded(x: Term, axis: int) -> Term:
    """With a row or column of zeros in front if their number is odd. Rotations leave it there."""
    b, sizes = x.builder, list(shape(x))
    count = int(str(sizes[axis]))
    if count % 2 == 0:
        return x
    front, whole = list(sizes), list(sizes)
    front[axis], whole[axis] = 1, count + 1
    zeros = b.expand(b.scalar(0, x.dtype), tuple(front))
    return type(x)(b, b.node("Concat", [zeros, x.value], x.dtype, tuple(whole), axis=len(sizes) + axis))


def trimmed(x: Term, axis: int, count: int) -> Term:
    """Without what ``padded`` added."""
    extra = int(str(shape(x)[axis])) - count
    return picked(x, axis, Term(x.builder, x.builder.integers(range(extra, count + extra)))) if extra else x


def ranked(column: Term, *, descending: bool) -> tuple[Term, Term]:
    """A column in order, and the places that its elements had."""
    b, sizes = column.builder, shape(column)
    results = [(column.dtype, sizes), (DataType.INT64, sizes)]
    inputs = [column.value, b.sizes([sizes[ROWS]])]
    values, places = b.node_outputs("TopK", inputs, results, axis=len(sizes) + ROWS, largest=int(descending), sorted=1)
    return Term(b, values), Term(b, places)


def angles(first: Term, second: Term, between: Term, turn: Term) -> Angles:
    """The smaller angle that makes [[first, between], [between, second]] diagonal; 0 where it need not ``turn``."""
    size_between = abs(between) if isinstance(between, Complex) else between
    slope = turn.choose((second - first) / (size_between * 2.0), math.inf)
    steep = abs(slope)
    # Where the 1 is lost, so is the square root, and the square might overflow.
    root = (steep > 1 / precision(slope)).choose(steep, (slope * slope + 1.0).apply("Sqrt"))
    tangent = (slope < 0.0).choose(-1.0, root.constant(1.0)) / (steep + root)
    cosine = 1.0 / (tangent * tangent + 1.0).apply("Sqrt")
    sine = tangent * cosine
    rest = sine * sine / (cosine + 1.0)
    if isinstance(between, Complex):
        # The phase first: what is shared may be too small for its reciprocal.
        sine = between / turn.choose(size_between, 1.0) * sine
    return sine, rest


def rotated(x: Term, angle: Angles) -> Term:
    """Rows turned in pairs, at their places for the next round."""
    b, sizes = x.builder, shape(x)
    count, axis = int(str(sizes[ROWS])), len(sizes) + ROWS
    sine, rest = angle
    half = (*sizes[:ROWS], count // 2, sizes[COLUMNS])
    halves = b.node_outputs("Split", [x.value], [(x.dtype, half)] * 2, axis=axis, num_outputs=2)
    first, second = (type(x)(b, part) for part in halves)
    turned = [first - (sine * second + rest * first), second + (conjugate(sine) * first - rest * second)]
    whole = b.node("Concat", [t.value for t in turned], x.dtype, sizes, axis=axis)
    return picked(type(x)(b, whole), ROWS, Term(b, b.integers(places_after(count))))


def places_after(count: int) -> list[int]:
    """The row that comes to each place after a round of an even number of rows."""
    half = count // 2
    if half < 2:
        return list(range(count))
    return [0, half, *range(1, half - 1), *range(half + 1, count), half - 1]


def rotations(
    a: Term, turn: Round, unsettled: Callable[..., Term], read: Sequence[Term], state: Sequence[Term]
) -> tuple[Term, list[Term]]:
    """Sweeps on the rows of the first state, each pair once, while any matrix is ``unsettled``; and the matrices of
    ``a`` for which that gave no result, as a column of one truth value: those that are not finite, or still unsettled.
    """
    rounds = int(str(shape(state[0])[ROWS])) - 1

    def sweep(k: Term, *values: Term) -> tuple[Term, Sequence[Term]]:
        given, after = list(values[: len(read)]), list(values[len(read) :])
        if rounds <= UNROLLED:
            for _ in range(rounds):
                after = list(turn(*given, *after))
        else:
            after = loop(rounds, lambda _, *inner: (None, turn(*inner)), given, after)
        left = unsettled(*given, *after)
        some = total(left.to(DataType.FLOAT), *range(-len(shape(left)), 0)) > 0.0
        return Term(k.builder, k.builder.reshape(some.value, ())), after

    after = loop(SWEEPS, sweep, read, state)
    finite = total(size(a - a), ROWS, COLUMNS).equals(0.0)
    return ~finite | unsettled(*read, *after), after
