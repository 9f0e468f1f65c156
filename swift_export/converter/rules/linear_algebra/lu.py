"""LU with row exchanges; solve, inv, det and slogdet are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.complex_terms import parts, size
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    batch,
    diagonal,
    indices,
    info,
    matrix,
    order,
    picked,
    shape,
    steps,
)
from swift_export.converter.rules.linear_algebra.routines import calls
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

DataType = oir.DataType


@rule(*calls("getrf"))
def getrf(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Both factors in one matrix, the rows exchanged at each step, and the first pivot that is zero.

    The pivot is the first of the largest elements of a column, for complex numbers by the sum of their parts, and the
    rows count from 1, as in LAPACK.
    """
    a = matrix(frame, op, 0)
    b, outer = frame.builder, batch(a)
    count = min(int(str(length)) for length in shape(a)[ROWS:])
    pivots = Term(b, b.expand(b.scalar(0, DataType.INT32), (*outer, count, 1)))
    if count:
        a, pivots = steps(count, _eliminate, [], [a, pivots])
    return [*parts(a), b.reshape(pivots.value, (*outer, count)), info(size(diagonal(a)).equals(0.0))]


def _eliminate(k: Term, a: Term, pivots: Term) -> Sequence[Term]:
    """Bring the pivot's row to its place; take its multiples out of the rows below."""
    b = a.builder
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    sizes = (*batch(a), 1, 1)
    candidates = (rows >= k).choose(size(picked(a, COLUMNS, k)), -1.0)
    place = Term(b, b.node("ArgMax", [candidates.value], DataType.INT64, sizes, axis=len(sizes) + ROWS, keepdims=1))
    pivot_row = order(a, place)
    a = rows.equals(k).choose(pivot_row, rows.equals(place).choose(picked(a, ROWS, k), a))
    column, pivot = picked(a, COLUMNS, k), picked(pivot_row, COLUMNS, k)
    # A column of zeros stays.
    column = size(pivot).equals(0.0).choose(column, column / pivot)
    below = rows > k
    a = (below & columns.equals(k)).choose(column, (below & (columns > k)).choose(a - column * pivot_row, a))
    pivots = indices(pivots, ROWS).equals(k).choose((place + 1).to(DataType.INT32), pivots)
    return [a, pivots]
