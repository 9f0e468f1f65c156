"""QR by Householder's reflections, with LAPACK's signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    identity,
    indices,
    matrix,
    picked,
    product,
    shape,
    steps,
    total,
    transposed,
)
from swift_export.converter.rules.terms import Term

__all__ = ["factored", "orthogonal"]


@rule("@lapack_sgeqrf_ffi", "@lapack_dgeqrf_ffi")
def geqrf(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """R, with the vectors of the reflections below it, and the reflections' factors."""
    packed, factors = factored(matrix(frame, op, op.operands[0]))
    return [packed.value, frame.builder.reshape(factors.value, shape(factors)[:-1])]


@rule("@lapack_sorgqr_ffi", "@lapack_dorgqr_ffi")
def orgqr(frame: Frame, op: Any) -> oir.Value:
    """The first columns of the product of the reflections."""
    b = frame.builder
    packed, factors = matrix(frame, op, op.operands[0]), frame.full(op.operands[1])
    frame.static(op, b.shape(factors)[-1:], "number of reflections")
    column = Term(b, b.reshape(factors, (*b.shape(factors), 1)))
    return orthogonal(packed, column, int(str(shape(packed)[COLUMNS]))).value


def factored(a: Term) -> tuple[Term, Term]:
    """R with the vectors of the reflections below it, and the reflections' factors as a column."""
    b = a.builder
    count = min(int(str(size)) for size in shape(a)[ROWS:])
    factors = Term(b, b.expand(b.scalar(0, a.dtype), (*shape(a)[:ROWS], count, 1)))
    if count:
        a, factors = steps(count, _reflect, [], [a, factors])
    return a, factors


def _reflect(k: Term, a: Term, factors: Term) -> Sequence[Term]:
    """Make a column zero below the diagonal, by LAPACK's larfg; reflect the columns after it."""
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    column = picked(a, COLUMNS, k)
    below, head = (rows > k).choose(column, 0.0), picked(column, ROWS, k)
    # Scaled by the mean size of an element, so that no square overflows or vanishes. Not by the largest: ONNX Runtime's
    # ReduceMax needs many nodes to keep NaN.
    share = 1 / int(str(shape(a)[ROWS]))
    rest = total(abs(below) * share, ROWS)
    scale = rest + abs(head) * share
    scale = (scale > 0.0).choose(scale, 1.0)
    scaled, first = below / scale, head / scale
    norm = (total(scaled * scaled, ROWS) + first * first).apply("Sqrt") * scale
    # Nothing to reflect, so the head keeps its sign. Otherwise it changes sign: the reciprocal tells -0 from 0.
    nothing = rest.equals(0.0)
    image = nothing.choose(head, (head.apply("Reciprocal") < 0.0).choose(norm, -norm))
    factor = nothing.choose(0.0, (image - head) / image)
    tail = below / nothing.choose(1.0, head - image)
    vector = rows.equals(k).choose(1.0, tail)
    reflected = a - factor * vector * product(transposed(vector), a)
    packed = (rows > k).choose(tail, rows.equals(k).choose(image, column))
    a = (columns > k).choose(reflected, columns.equals(k).choose(packed, a))
    return [a, indices(factors, ROWS).equals(k).choose(factor, factors)]


def orthogonal(packed: Term, factors: Term, width: int) -> Term:
    """The first ``width`` columns of the product of the reflections."""
    height, count = int(str(shape(packed)[ROWS])), int(str(shape(factors)[ROWS]))
    start = identity(packed, height, width)

    def reflect(k: Term, packed: Term, factors: Term, q: Term) -> Sequence[Term]:
        i = count - 1 - k
        rows = indices(packed, ROWS)
        vector = rows.equals(i).choose(1.0, (rows > i).choose(picked(packed, COLUMNS, i), 0.0))
        return [q - picked(factors, ROWS, i) * vector * product(transposed(vector), q)]

    return steps(count, reflect, [packed, factors], [start])[0]
