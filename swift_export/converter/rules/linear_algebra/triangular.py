"""Cholesky's factorization and systems of triangular matrices."""

from __future__ import annotations

import math
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
    indices,
    info,
    matrix,
    picked,
    shape,
    steps,
    transposed,
    widened,
)
from swift_export.converter.rules.linear_algebra.routines import calls, letters
from swift_export.converter.rules.terms import Term

__all__: list[str] = []


@rule(*calls("potrf"))
def potrf(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The factor in its triangle, the operand in the other one; and the order of the first minor that is not positive.

    As in OpenBLAS, NaN is no failure: it spreads.
    """
    a = matrix(frame, op, 0)
    lower = letters(frame, op, uplo="LU")["uplo"] == "L"
    factor, failed = _cholesky(a, lower=lower)
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    inside = rows >= columns if lower else rows <= columns
    return [*parts(inside.choose(factor, a)), info(failed)]


@rule("stablehlo.cholesky", "swift_export.cholesky", attributes=["lower"])
def cholesky(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The factor, with zeros in the other triangle; NaN if the matrix is not positive definite, as XLA gives it."""
    a = matrix(frame, op, 0)
    lower = "lower" in op.attributes and op.attributes["lower"].value
    factor, failed = _cholesky(a, lower=lower)
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    inside = rows >= columns if lower else rows <= columns
    b = frame.builder
    count = b.reshape(info(failed), (*batch(a), 1, 1))
    found = Term(b, count).equals(0).choose(inside.choose(factor, 0.0), math.nan)
    return [b.cast(part, frame.dtype(op.operands[0])) for part in parts(found)]


def _cholesky(a: Term, *, lower: bool) -> tuple[Term, Term]:
    """The factor, and which pivots are not positive, as a column. Only one triangle of the operand is read."""
    factor = a if lower else adjoint(a)
    (factor,) = steps(int(str(shape(a)[ROWS])), _eliminate, [], [factor])
    failed = real(diagonal(factor)) < 0.0
    return factor if lower else adjoint(factor), failed


def _eliminate(k: Term, a: Term) -> Sequence[Term]:
    """One column of the factor, taken out of the rest. A pivot that is not positive leaves -1 on the diagonal."""
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    column = picked(a, COLUMNS, k)
    pivot = real(picked(column, ROWS, k))
    root = (pivot <= 0.0).choose(-1.0, pivot.apply("Sqrt"))
    column = rows.equals(k).choose(paired(root, a), column / root)
    rest = a - column * adjoint(column)
    return [((rows > k) & (columns > k)).choose(rest, ((rows >= k) & columns.equals(k)).choose(column, a))]


@rule(*calls("trsm"))
def trsm(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """A system with a triangular matrix on either side."""
    a, rhs = matrix(frame, op, 0), widened(frame, op, 1)
    said = letters(frame, op, side="LR", uplo="LU", trans_x="NTC", diag="NU")
    if said["trans_x"] == "C":
        a = conjugate(a)
    left, lower, turn, ones = said["side"] == "L", said["uplo"] == "L", said["trans_x"] != "N", said["diag"] == "U"
    return parts(_solve(a, rhs, left=left, lower=lower, turn=turn, ones=ones))


@rule(
    *("stablehlo.triangular_solve", "swift_export.triangular_solve"),
    attributes=["left_side", "lower", "unit_diagonal", "transpose_a"],
)
def triangular_solve(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """A system with a triangular matrix on either side."""
    a, rhs = matrix(frame, op, 0), widened(frame, op, 1)
    left, lower, ones = (op.attributes[name].value for name in ("left_side", "lower", "unit_diagonal"))
    kind = str(op.attributes["transpose_a"])
    if "ADJOINT" in kind:
        a = conjugate(a)
    found = _solve(a, rhs, left=left, lower=lower, turn="NO_TRANSPOSE" not in kind, ones=ones)
    return [frame.builder.cast(part, frame.dtype(op.operands[-1])) for part in parts(found)]


def _solve(a: Term, rhs: Term, *, left: bool, lower: bool, turn: bool, ones: bool) -> Term:
    """X in A X = B or X A = B. The other triangle of A is not read, nor its diagonal if that is ``ones``."""
    if turn == left:
        a = transposed(a)
    x = rhs if left else transposed(rhs)
    # A transposition swaps the triangles; so does X A = B, read as A^T X^T = B^T.
    forward = lower == (turn != left)
    count = int(str(shape(a)[ROWS]))

    def substitute(k: Term, a: Term, x: Term) -> Sequence[Term]:
        i = k if forward else count - 1 - k
        rows = indices(a, ROWS)
        column, found = picked(a, COLUMNS, i), picked(x, ROWS, i)
        if not ones:
            found = found / picked(column, ROWS, i)
        rest = rows > i if forward else rows < i
        # Not a product with zeros: an infinite solution of a singular system must not reach the rows before it.
        return [rest.choose(x - column * found, rows.equals(i).choose(found, x))]

    (x,) = steps(count, substitute, [a], [x])
    return x if left else transposed(x)
