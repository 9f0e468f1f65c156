"""Similar matrices with zeros below the first subdiagonal, which are tridiagonal if the matrix is symmetric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.complex_terms import conjugate, paired, parts, real
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    adjoint,
    batch,
    diagonal,
    elements,
    flat,
    hermitian,
    indices,
    matrix,
    picked,
    product,
    shape,
    steps,
)
from swift_export.converter.rules.linear_algebra.reflections import reflected, reflection
from swift_export.converter.rules.linear_algebra.routines import calls, letters
from swift_export.converter.rules.terms import Term

__all__: list[str] = []


@rule(*calls("gehrd"))
def gehrd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The similar matrix, with the vectors of the reflections below its subdiagonal, and the reflections' factors."""
    a = matrix(frame, op, 0)
    config = op.attributes["mhlo.backend_config"]
    if (config["low"].value, config["high"].value) != (1, shape(a)[ROWS]):
        raise frame.error(op, "a part of the matrix is triangular already: the op's rule takes none")
    packed, factors = _packed(a)
    return [*parts(packed), *flat(factors), _success(a)]


@rule(*calls("sytrd", types="sd"), *calls("hetrd", types="cz"))
def sytrd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The same of a symmetric matrix in one of its triangles; the diagonal and the one beside it; the factors.

    From the upper triangle, LAPACK begins with the last column: the rule turns both axes around.
    """
    a = matrix(frame, op, 0)
    lower = letters(frame, op, uplo="LU")["uplo"] == "L"
    count = int(str(shape(a)[ROWS]))

    def around(x: Term, *axes: int) -> Term:
        for axis in () if lower else axes:
            backwards = x.builder.integers(range(int(str(shape(x)[axis])))[::-1])
            x = picked(x, axis, Term(x.builder, backwards))
        return x

    packed, factors = _packed(around(hermitian(a, lower=lower), ROWS, COLUMNS))
    beside = real(elements(packed, range(1, count), range(count - 1)))
    packed, middle = around(packed, ROWS, COLUMNS), real(diagonal(packed))
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    written = (rows >= columns if lower else rows <= columns).choose(packed, a)
    vectors = [value for x in (middle, beside, factors) for value in flat(around(x, ROWS))]
    return [*parts(written), *vectors, _success(a)]


def _packed(a: Term) -> tuple[Term, Term]:
    """The similar matrix with the vectors of the reflections, and their factors as a column."""
    b, count = a.builder, max(int(str(shape(a)[ROWS])) - 1, 0)
    factors = paired(Term(b, b.expand(b.scalar(0, a.dtype), (*batch(a), count, 1))), a)
    if count:
        a, factors = steps(count, _reduce, [], [a, factors])
    return a, factors


def _reduce(k: Term, a: Term, factors: Term) -> Sequence[Term]:
    """Make a column zero below the subdiagonal; reflect the rows and columns after it on both sides."""
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    head, column = k + 1, picked(a, COLUMNS, k)
    image, factor, tail = reflection(column, head)
    vector = rows.equals(head).choose(1.0, tail)
    after = reflected(a, conjugate(factor), vector)
    after = after - product(after, vector) * factor * adjoint(vector)
    packed = (rows > head).choose(tail, rows.equals(head).choose(image, column))
    a = (columns > k).choose(after, columns.equals(k).choose(packed, a))
    return [a, indices(factors, ROWS).equals(k).choose(factor, factors)]


def _success(a: Term) -> oir.Value:
    """LAPACK's status of each matrix."""
    return a.builder.expand(a.builder.scalar(0, oir.DataType.INT32), batch(a))
