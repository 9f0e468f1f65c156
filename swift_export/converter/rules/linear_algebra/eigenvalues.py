"""Eigenvalues and eigenvectors of symmetric matrices, by Jacobi's method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    diagonal,
    elements,
    identity,
    indices,
    info,
    largest,
    matrix,
    order,
    precision,
    shape,
    total,
    transposed,
)
from swift_export.converter.rules.linear_algebra.rotations import (
    angles,
    in_range,
    padded,
    places_after,
    ranked,
    rotated,
    rotations,
    trimmed,
)
from swift_export.converter.rules.linear_algebra.routines import letters, note_free_signs
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

#: At rest, elements beside the diagonal are below this part of a rounding of the largest element.
REST = 1 / 16


@rule("@lapack_ssyevd_ffi", "@lapack_dsyevd_ffi")
def syevd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Eigenvectors as columns, and eigenvalues in ascending order.

    The sign of each vector is free, and so is the basis for equal eigenvalues: LAPACK's follow from its roundings. A
    matrix that is not finite has no result.
    """
    a = matrix(frame, op, op.operands[0])
    said = letters(frame, op, mode="VN", uplo="LU")
    size = int(str(shape(a)[ROWS]))
    if size == 0:
        return [a.value, frame.builder.reshape(a.value, shape(a)[:-1]), info(diagonal(a).equals(0.0))]
    lower, upper = (a, transposed(a)) if said["uplo"] == "L" else (transposed(a), a)
    symmetric = (indices(a, ROWS) >= indices(a, COLUMNS)).choose(lower, upper)
    x, scale = in_range(symmetric)
    rest = largest(abs(x), ROWS, COLUMNS) * (precision(a) * REST)
    state = [padded(padded(x, ROWS), COLUMNS)]
    if said["mode"] == "V":
        note_free_signs(frame)
        state.append(padded(identity(a, size, size), ROWS))
    failed, after = rotations(symmetric, _turn, [rest], state)
    values, places = ranked(trimmed(diagonal(after[0]), ROWS, size), descending=False)
    vectors = a
    for rows in after[1:]:
        rows = order(trimmed(rows, ROWS, size), places)
        vectors = transposed(rows / total(rows * rows, COLUMNS).apply("Sqrt"))
    values = values / scale
    return [vectors.value, frame.builder.reshape(values.value, shape(values)[:-1]), info(failed)]


def _turn(rest: Term, x: Term, *vectors: Term) -> tuple[Term, Sequence[Term]]:
    """Turn each pair of rows and columns so that the element that they share becomes zero."""
    b = x.builder
    count = int(str(shape(x)[ROWS]))
    first, second = range(count // 2), range(count // 2, count)
    between = elements(x, first, second)
    angle = angles(elements(x, first, first), elements(x, second, second), between, ~between.equals(0.0))
    x = rotated(rotated(x, ROWS, angle), COLUMNS, (transposed(angle[0]), transposed(angle[1])))
    # Exactly zero: what its rounding leaves there would keep the rounds going.
    shared = np.roll(np.eye(count, dtype=bool), count // 2, axis=1)
    places = places_after(count)
    x = Term(b, b.constant(shared[np.ix_(places, places)])).choose(0.0, x)
    return abs(between) > rest, [x, *(rotated(rows, ROWS, angle) for rows in vectors)]
