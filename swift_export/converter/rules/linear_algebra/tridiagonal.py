"""Systems of tridiagonal matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    indices,
    info,
    picked,
    shape,
    steps,
    widened,
)
from swift_export.converter.rules.linear_algebra.routines import calls
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

#: Columns of the table of coefficients: below the diagonal, on it, after it, and two after it, which pivoting fills.
BELOW, DIAGONAL, AFTER, SECOND = range(4)


@rule(*calls("gtsv", types="sd"))
def gtsv(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The solution, and the first pivot that is zero. The diagonals that LAPACK leaves behind are not given."""
    if any(list(result.uses) for result in op.results[:3]):
        raise frame.error(op, "a diagonal of the factors is read: the op's rule only gives the solution")
    b = frame.builder
    rhs = widened(frame, op, 3)
    *batch, size, _ = shape(rhs)
    (count,) = frame.static(op, [size], "number of equations")
    below, middle, after = (Term(b, b.reshape(frame.full(operand), (*batch, count, 1))) for operand in op.operands[:3])
    rows = indices(rhs, ROWS)
    # JAX leaves the first element below the diagonal and the last one after it open.
    columns = [below, middle, (rows < count - 1).choose(after, 0.0), (rows < 0).choose(after, 0.0)]
    parts = [c.value for c in columns]
    table = Term(b, b.node("Concat", parts, rhs.dtype, (*batch, count, 4), axis=len(batch) + 1))
    table, rhs = steps(count - 1, _eliminate, [], [table, rhs])
    unknown = b.expand(b.scalar(0, rhs.dtype), (*batch, 2, shape(rhs)[COLUMNS]))
    sizes = (*batch, count + 2, shape(rhs)[COLUMNS])
    x = Term(b, b.node("Concat", [rhs.value, unknown], rhs.dtype, sizes, axis=len(batch)))

    def substitute(k: Term, table: Term, x: Term) -> Sequence[Term]:
        i = count - 1 - k
        row = picked(table, ROWS, i)
        rest = picked(x, ROWS, i)
        for ahead, column in ((1, AFTER), (2, SECOND)):
            rest = rest - _columns(row, column) * picked(x, ROWS, i + ahead)
        return [indices(x, ROWS).equals(i).choose(rest / _columns(row, DIAGONAL), x)]

    (x,) = steps(count, substitute, [table], [x])
    solution = picked(x, ROWS, Term(b, b.integers(range(count))))
    failed = info(_columns(table, DIAGONAL).equals(0.0))
    return [*(frame.full(operand) for operand in op.operands[:3]), solution.value, failed]


def _columns(x: Term, *columns: int) -> Term:
    return picked(x, COLUMNS, Term(x.builder, x.builder.integers(columns)))


def _eliminate(k: Term, table: Term, rhs: Term) -> Sequence[Term]:
    """Take a row's multiple out of the next one, after an exchange if that has the larger element, as LAPACK does."""
    b = table.builder
    # Both rows from the column of the row's diagonal on.
    row, after = _columns(picked(table, ROWS, k), DIAGONAL, AFTER, SECOND), picked(table, ROWS, k + 1)
    after = _columns(after, BELOW, DIAGONAL, AFTER)
    stays = abs(_columns(row, 0)) >= abs(_columns(after, 0))
    sides = picked(rhs, ROWS, k), picked(rhs, ROWS, k + 1)
    first, second = stays.choose(row, after), stays.choose(after, row)
    multiple = _columns(second, 0) / _columns(first, 0)
    rest = _columns(second - multiple * first, 0, 1, 2, 0)
    inner = Term(b, b.constant(np.array([[False, True, True, False]])))
    upper = stays.choose(sides[0], sides[1])
    lower = stays.choose(sides[1], sides[0]) - multiple * upper
    rows = indices(table, ROWS)
    here, there = rows.equals(k), rows.equals(k + 1)
    table = here.choose(_columns(first, 0, 0, 1, 2), there.choose(inner.choose(rest, 0.0), table))
    return [table, here.choose(upper, there.choose(lower, rhs))]
