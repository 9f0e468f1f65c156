"""QR by Householder's reflections, with LAPACK's signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import known
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.complex_terms import Complex, conjugate, paired, parts, squares
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    adjoint,
    batch,
    flat,
    identity,
    indices,
    matrix,
    order,
    picked,
    shape,
    steps,
    total,
    transposed,
)
from swift_export.converter.rules.linear_algebra.reflections import applied, reflected, reflection
from swift_export.converter.rules.linear_algebra.routines import calls, is_complex, note
from swift_export.converter.rules.terms import Term

__all__ = ["factored", "orthogonal"]

DataType = oir.DataType

_FREE_PIVOTS = "columns of the same length may be pivots of a QR in another order than in JAX"


@rule(*calls("geqrf"))
def geqrf(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """R, with the vectors of the reflections below it, and the reflections' factors."""
    packed, factors = factored(matrix(frame, op, 0))
    return [*parts(packed), *flat(factors)]


@rule(*calls("geqp3"))
def geqp3(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """QR of the columns in the order of their lengths: at each step, that of what is left of them. The columns count
    from 1. Of columns of the same length, LAPACK's choice follows from roundings.
    """
    b, a, given = frame.builder, matrix(frame, op, 0), known(frame.compact(op.operands[-1]))
    if given is None or given.any():
        raise frame.error(op, "columns are given a place: the op's rule takes zeros for all")
    note(frame, _FREE_PIVOTS)
    outer, count = batch(a), min(int(str(length)) for length in shape(a)[ROWS:])
    factors = paired(Term(b, b.expand(b.scalar(0, a.dtype), (*outer, count, 1))), a)
    columns = (indices(a, COLUMNS) + 1).to(DataType.INT32)
    pivots = Term(b, b.expand(columns.value, (*outer, *shape(columns))))
    a, factors, pivots = steps(count, _pivot, [], [a, factors, pivots])
    return [*parts(a), b.reshape(pivots.value, (*outer, shape(pivots)[COLUMNS])), *flat(factors)]


def _pivot(k: Term, a: Term, factors: Term, pivots: Term) -> Sequence[Term]:
    """Bring the longest column to its place, and reflect."""
    b, columns = a.builder, indices(a, COLUMNS)
    left = total(squares((indices(a, ROWS) >= k).choose(a, 0.0)), ROWS)
    candidates = (columns >= k).choose(left, -1.0)
    sizes = (*batch(a), 1, 1)
    place = Term(b, b.node("ArgMax", [candidates.value], DataType.INT64, sizes, axis=len(sizes) + COLUMNS, keepdims=1))

    def exchanged(x: Term) -> Term:
        chosen = transposed(order(transposed(x), place))
        return columns.equals(k).choose(chosen, columns.equals(place).choose(picked(x, COLUMNS, k), x))

    return [*_reflect(k, exchanged(a), factors), exchanged(pivots)]


@rule(*calls("orgqr", types="sd"), *calls("ungqr", types="cz"))
def orgqr(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The first columns of the product of the reflections."""
    packed = matrix(frame, op, 0)
    return parts(orthogonal(packed, _factors(frame, op), int(str(shape(packed)[COLUMNS]))))


@rule(*calls("ormqr", types="sd"), *calls("unmqr", types="cz"))
def ormqr(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The product of the reflections, or its adjoint, times a matrix on either side."""
    config = op.attributes["mhlo.backend_config"]
    left, turn = config["left"].value, config["transpose"].value
    packed, factors, x = matrix(frame, op, 0), _factors(frame, op), matrix(frame, op, 2)
    # X Q is the adjoint of Q* X*; and Q* consists of the adjoint reflections from the first one on.
    backward = turn != left
    found = applied(
        packed, factors if backward else conjugate(factors), x if left else adjoint(x), forward=not backward
    )
    return parts(found if left else adjoint(found))


def _factors(frame: Frame, op: Any) -> Term:
    """The second operand, the reflections' factors, as a column."""
    b = frame.builder
    operands = [frame.full(value) for value in (op.operands[2:4] if is_complex(op) else op.operands[1:2])]
    frame.static(op, b.shape(operands[0])[-1:], "number of reflections")
    columns = [b.reshape(value, (*b.shape(value), 1)) for value in operands]
    return Complex.joined(b, *columns) if is_complex(op) else Term(b, *columns)


def factored(a: Term) -> tuple[Term, Term]:
    """R with the vectors of the reflections below it, and the reflections' factors as a column."""
    b = a.builder
    count = min(int(str(length)) for length in shape(a)[ROWS:])
    factors = paired(Term(b, b.expand(b.scalar(0, a.dtype), (*batch(a), count, 1))), a)
    if count:
        a, factors = steps(count, _reflect, [], [a, factors])
    return a, factors


def _reflect(k: Term, a: Term, factors: Term) -> Sequence[Term]:
    """Make a column zero below the diagonal; reflect the columns after it."""
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    column = picked(a, COLUMNS, k)
    image, factor, tail = reflection(column, k)
    after = reflected(a, conjugate(factor), rows.equals(k).choose(1.0, tail))
    packed = (rows > k).choose(tail, rows.equals(k).choose(image, column))
    a = (columns > k).choose(after, columns.equals(k).choose(packed, a))
    return [a, indices(factors, ROWS).equals(k).choose(factor, factors)]


def orthogonal(packed: Term, factors: Term, width: int) -> Term:
    """The first ``width`` columns of the product of the reflections."""
    start = identity(packed, int(str(shape(packed)[ROWS])), width)
    return applied(packed, factors, start, forward=False)
