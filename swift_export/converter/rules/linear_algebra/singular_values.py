"""Singular values and vectors, by Jacobi's method on one side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.complex_terms import conjugate, parts, real, size, squares
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    adjoint,
    batch,
    diagonal,
    identity,
    indices,
    info,
    largest,
    matrix,
    order,
    picked,
    precision,
    product,
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
from swift_export.converter.rules.linear_algebra.routines import calls, is_complex, is_read, letters, note_free_signs
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

DataType = oir.DataType

#: Rows are orthogonal if the cosine between them is within so many roundings of zero; more for long rows.
TOLERANCE = 4


@rule(*calls("gesdd", "gesvd"))
def gesdd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """What LAPACK leaves in the operand's place, the singular values in descending order, U, and V transposed.

    The common sign of each pair of vectors is free, and so are bases for equal and for zero values: LAPACK's follow
    from its roundings. A matrix that is not finite has no result.
    """
    a = matrix(frame, op, 0)
    mode = letters(frame, op, mode="ASN")["mode"]
    b, outer = frame.builder, batch(a)
    factors = list(op.results)[3:7] if is_complex(op) else list(op.results)[2:4]
    wide = int(str(shape(a)[ROWS])) < int(str(shape(a)[COLUMNS]))
    tall = transposed(a) if wide else a
    height, width = (int(str(count)) for count in shape(tall)[ROWS:])
    wanted = mode != "N" and any(map(is_read, factors))
    values, failed, vectors = _singular(tall, height if mode == "A" else width, vectors=wanted)
    if vectors is None:
        # Without vectors, U and V are not written.
        found = [b.expand(b.scalar(0, a.dtype), (*outer, *map(int, result.type.shape[-2:]))) for result in factors]
    else:
        note_free_signs(frame)
        u, v = vectors
        left, right = (v, transposed(u)) if wide else (u, transposed(v))
        found = [*parts(left), *parts(right)]
    return [*parts(a), b.reshape(values.value, (*outer, width)), *found, info(failed)]


def _singular(a: Term, columns: int, *, vectors: bool) -> tuple[Term, Term, tuple[Term, Term] | None]:
    """Of a matrix that is not wide: singular values as a column, the matrices that have none, and so many columns of U
    with the conjugate of V.
    """
    width = int(str(shape(a)[COLUMNS]))
    x, scale = in_range(a)
    state = [padded(transposed(x), ROWS)]
    if vectors:
        state.append(padded(identity(a, width, width), ROWS))
    nothing = largest(size(x), ROWS, COLUMNS) * precision(a) ** 2
    failed, after = rotations(a, _turn, _unsettled, [nothing], state)
    scaled, *turns = (trimmed(rows, ROWS, width) for rows in after)
    values, places = ranked(total(squares(scaled), COLUMNS).apply("Sqrt"), descending=True)
    if not vectors:
        return values / scale, failed, None
    # The rows are orthogonal, and U has their directions. By QR it is complete where rows are zero, or are none.
    packed, factors = factored(transposed(order(scaled, places)))
    v = (real(diagonal(packed)) < 0.0).choose(-1.0, values.constant(1.0)) * order(turns[0], places)
    return values / scale, failed, (orthogonal(packed, factors, columns), adjoint(v))


def _turn(nothing: Term, rows: Term, *turns: Term) -> Sequence[Term]:
    """Make each pair of rows orthogonal, unless it is up to far less than rounding.

    Rows shorter than ``nothing`` are left alone: what remains of parallel rows has no direction of its own.
    """
    b = rows.builder
    count = int(str(shape(rows)[ROWS]))
    halves = (range(count // 2), range(count // 2, count))
    first, second = (picked(rows, ROWS, Term(b, b.integers(half))) for half in halves)
    lengths = total(squares(first), COLUMNS), total(squares(second), COLUMNS)
    between = total(first * conjugate(second), COLUMNS)
    least = lengths[0].apply("Min", lengths[1])
    turn = (size(between) > least * (precision(rows) / 8)) & (least > nothing * nothing)
    angle = angles(*lengths, between, turn)
    return [rotated(x, angle) for x in (rows, *turns)]


def _unsettled(nothing: Term, rows: Term, *turns: Term) -> Term:
    """The matrices with a pair of rows that are not orthogonal up to rounding."""
    norms = total(squares(rows), COLUMNS).apply("Sqrt")
    norms = (norms > nothing).choose(norms, math.inf)
    cosine = precision(rows) * max(TOLERANCE, math.sqrt(int(str(shape(rows)[COLUMNS]))))
    apart = indices(rows, ROWS) > indices(transposed(rows), COLUMNS)
    between = apart.choose(size(product(rows, adjoint(rows))), 0.0)
    return largest((between > norms * transposed(norms) * cosine).to(DataType.FLOAT), ROWS, COLUMNS) > 0.0
