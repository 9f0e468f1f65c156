"""Householder's reflections I - f v v*, as LAPACK makes them: the vector v has a one at its head, and zeros before."""

from __future__ import annotations

from collections.abc import Sequence

from swift_export.converter.rules.linear_algebra.complex_terms import (
    Complex,
    imaginary,
    paired,
    real,
    size,
    squares,
)
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    adjoint,
    indices,
    picked,
    product,
    shape,
    steps,
    total,
)
from swift_export.converter.rules.terms import Term

__all__ = ["applied", "reflected", "reflection"]


def reflection(column: Term, head: Term) -> tuple[Term, Term, Term]:
    """Of the reflection that makes a column zero below the row of index ``head``: what it leaves at the head, a real
    number as one of the column's kind; its factor; and its vector, of which only what is below the head is nonzero.

    As by LAPACK's larfg, the adjoint of I - f v v* is what does so.
    """
    below, start = (indices(column, ROWS) > head).choose(column, 0.0), picked(column, ROWS, head)
    # Scaled by the mean size of an element, so that no square overflows or vanishes. Not by the largest: ONNX Runtime's
    # ReduceMax needs many nodes to keep NaN.
    share = 1 / int(str(shape(column)[ROWS]))
    rest = total(size(below) * share, ROWS)
    if isinstance(start, Complex):
        rest = rest + abs(imaginary(start)) * share
    scale = rest + abs(real(start)) * share
    scale = (scale > 0.0).choose(scale, 1.0)
    below, first = below / scale, start / scale
    norm = (total(squares(below), ROWS) + squares(first)).apply("Sqrt")
    # Nothing to reflect, so the head keeps its sign. Otherwise it changes sign: the reciprocal tells -0 from 0.
    nothing = rest.equals(0.0)
    image = (real(first).apply("Reciprocal") < 0.0).choose(norm, -norm)
    difference = paired(image, first) - first
    factor = nothing.choose(0.0, difference / image)
    return paired(nothing.choose(real(start), image * scale), first), factor, below / nothing.choose(1.0, -difference)


def reflected(x: Term, factor: Term, vector: Term) -> Term:
    """The product of a reflection and a matrix."""
    return x - factor * vector * product(adjoint(vector), x)


def applied(packed: Term, factors: Term, x: Term, *, forward: bool) -> Term:
    """Reflections one after the other on the columns of a matrix; their vectors are the columns of ``packed`` below
    the diagonal. From the first one on, or from the last, which gives the product of all of them with the matrix.
    """
    count = int(str(shape(factors)[ROWS]))

    def step(k: Term, packed: Term, factors: Term, x: Term) -> Sequence[Term]:
        i = k if forward else count - 1 - k
        rows = indices(packed, ROWS)
        column = picked(packed, COLUMNS, i)
        vector = rows.equals(i).choose(1.0, (rows > i).choose(column, 0.0))
        return [reflected(x, picked(factors, ROWS, i), vector)]

    return steps(count, step, [packed, factors], [x])[0]
