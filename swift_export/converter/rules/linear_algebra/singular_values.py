"""Singular values and vectors, by Jacobi's method on one side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    diagonal,
    identity,
    info,
    largest,
    matrix,
    order,
    picked,
    precision,
    shape,
    total,
    transposed,
)
from swift_export.converter.rules.linear_algebra.qr import factored, orthogonal
from swift_export.converter.rules.linear_algebra.rotations import (
    angles,
    in_range,
    padded,
    ranked,
    rotated,
    rotations,
    trimmed,
)
from swift_export.converter.rules.linear_algebra.routines import letters, note_free_signs
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

#: Rows are orthogonal if the cosine between them is within so many roundings of zero; more for long rows.
TOLERANCE = 4


@rule("@lapack_sgesdd_ffi", "@lapack_dgesdd_ffi")
def gesdd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """What LAPACK leaves in the operand's place, the singular values in descending order, U, and V transposed.

    The common sign of each pair of vectors is free, and so are bases for equal and for zero values: LAPACK's follow
    from its roundings. A matrix that is not finite has no result.
    """
    a = matrix(frame, op, op.operands[0])
    mode = letters(frame, op, mode="ASN")["mode"]
    b, batch = frame.builder, shape(a)[:ROWS]
    wide = int(str(shape(a)[ROWS])) < int(str(shape(a)[COLUMNS]))
    tall = transposed(a) if wide else a
    height, width = (int(str(size)) for size in shape(tall)[ROWS:])
    values, failed, vectors = _singular(tall, height if mode == "A" else width, vectors=mode != "N")
    if vectors is None:
        # Without vectors, U and V are not written.
        left, right = (
            b.expand(b.scalar(0, a.dtype), (*batch, *map(int, result.type.shape[-2:]))) for result in op.results[2:4]
        )
    else:
        note_free_signs(frame)
        u, v = vectors
        left, right = (v.value, transposed(u).value) if wide else (u.value, transposed(v).value)
    return [a.value, b.reshape(values.value, (*batch, width)), left, right, info(failed)]


def _singular(a: Term, columns: int, *, vectors: bool) -> tuple[Term, Term, tuple[Term, Term] | None]:
    """Of a matrix that is not wide: singular values as a column, the matrices that have none, and so many columns of U
    with V.
    """
    width = int(str(shape(a)[COLUMNS]))
    x, scale = in_range(a)
    state = [padded(transposed(x), ROWS)]
    if vectors:
        state.append(padded(identity(a, width, width), ROWS))
    nothing = largest(abs(x), ROWS, COLUMNS) * precision(a) ** 2
    failed, after = rotations(a, _turn, [nothing], state)
    scaled, *turns = (trimmed(rows, ROWS, width) for rows in after)
    values, places = ranked(total(scaled * scaled, COLUMNS).apply("Sqrt"), descending=True)
    if not vectors:
        return values / scale, failed, None
    # The rows are orthogonal, and U has their directions. By QR it is complete where rows are zero, or are none.
    packed, factors = factored(transposed(order(scaled, places)))
    v = (diagonal(packed) < 0.0).choose(-1.0, values.constant(1.0)) * order(turns[0], places)
    return values / scale, failed, (orthogonal(packed, factors, columns), transposed(v))


def _turn(nothing: Term, rows: Term, *turns: Term) -> tuple[Term, Sequence[Term]]:
    """Turn each pair of rows that are not orthogonal up to rounding.

    Rows shorter than ``nothing`` are left alone: what remains of parallel rows has no direction of its own.
    """
    b = rows.builder
    count, length = (int(str(size)) for size in shape(rows)[ROWS:])
    halves = (range(count // 2), range(count // 2, count))
    first, second = (picked(rows, ROWS, Term(b, b.integers(half))) for half in halves)
    squares = [total(half * half, COLUMNS) for half in (first, second)]
    between = total(first * second, COLUMNS)
    norms = [square.apply("Sqrt") for square in squares]
    cosine = precision(rows) * max(TOLERANCE, math.sqrt(length))
    turn = (abs(between) > norms[0] * norms[1] * cosine) & (norms[0].apply("Min", norms[1]) > nothing)
    angle = angles(squares[0], squares[1], between, turn)
    return turn, [rotated(rows, ROWS, angle), *(rotated(t, ROWS, angle) for t in turns)]
