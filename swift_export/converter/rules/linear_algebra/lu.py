"""LU with row exchanges; solve, inv, det and slogdet are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    diagonal,
    indices,
    info,
    matrix,
    order,
    picked,
    shape,
    steps,
)
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

DataType = oir.DataType


@rule("@lapack_sgetrf_ffi", "@lapack_dgetrf_ffi")
def getrf(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Both factors in one matrix, the rows exchanged at each step, and the first pivot that is zero.

    The pivot is the first of the largest elements of a column, and the rows count from 1, as in LAPACK.
    """
    a = matrix(frame, op, op.operands[0])
    b, batch = frame.builder, shape(a)[:ROWS]
    count = min(int(str(size)) for size in shape(a)[ROWS:])
    pivots = Term(b, b.expand(b.scalar(0, DataType.INT32), (*batch, count, 1)))
    if count:
        a, pivots = steps(count, _eliminate, [], [a, pivots])
    return [a.value, b.reshape(pivots.value, (*batch, count)), info(diagonal(a).equals(0.0))]


def _eliminate(k: Term, a: Term, pivots: Term) -> Sequence[Term]:
    """Bring the pivot's row to its place; take its multiples out of the rows below."""
    b = a.builder
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    sizes = (*shape(a)[:ROWS], 1, 1)
    candidates = (rows >= k).choose(abs(picked(a, COLUMNS, k)), -1.0)
    place = Term(b, b.node("ArgMax", [candidates.value], DataType.INT64, sizes, axis=len(sizes) + ROWS, keepdims=1))
    pivot_row = order(a, place)
    a = rows.equals(k).choose(pivot_row, rows.equals(place).choose(picked(a, ROWS, k), a))
    column, pivot = picked(a, COLUMNS, k), picked(pivot_row, COLUMNS, k)
    # A column of zeros stays.
    column = pivot.equals(0.0).choose(column, column / pivot)
    below = rows > k
    a = (below & columns.equals(k)).choose(column, (below & (columns > k)).choose(a - column * pivot_row, a))
    pivots = indices(pivots, ROWS).equals(k).choose((place + 1).to(DataType.INT32), pivots)
    return [a, pivots]
