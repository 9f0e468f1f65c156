"""Eigenvalues and eigenvectors of symmetric matrices, by Jacobi's method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.linear_algebra.complex_terms import (
    parts,
    real,
    size,
    squares,
)
from swift_export.converter.rules.linear_algebra.matrices import (
    COLUMNS,
    ROWS,
    adjoint,
    diagonal,
    elements,
    hermitian,
    identity,
    indices,
    info,
    largest,
    matrix,
    order,
    precision,
    shape,
    total,
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
from swift_export.converter.rules.linear_algebra.routines import calls, is_read, letters, note_free_signs
from swift_export.converter.rules.terms import Term

__all__: list[str] = []

#: At rest, elements beside the diagonal are below this part of a rounding of the largest element.
REST = 1 / 16


@rule(*calls("syevd", types="sd"), *calls("heevd", types="cz"))
def syevd(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Eigenvectors as columns, and eigenvalues in ascending order.

    The sign of each vector is free, and so is the basis for equal eigenvalues: LAPACK's follow from its roundings. A
    matrix that is not finite has no result.
    """
    a = matrix(frame, op, 0)
    said = letters(frame, op, mode="VN", uplo="LU")
    count = int(str(shape(a)[ROWS]))
    if count == 0:
        nothing = real(diagonal(a))
        return [*parts(a), frame.builder.reshape(nothing.value, shape(nothing)[:-1]), info(nothing.equals(0.0))]
    symmetric = hermitian(a, lower=said["uplo"] == "L")
    x, scale = in_range(symmetric)
    rest = largest(size(x), ROWS, COLUMNS) * (precision(a) * REST)
    state = [padded(padded(x, ROWS), COLUMNS)]
    if said["mode"] == "V" and any(map(is_read, op.results[: len(parts(a))])):
        note_free_signs(frame)
        state.append(padded(identity(a, count, count), ROWS))
    failed, after = rotations(symmetric, _turn, _unsettled, [rest], state)
    values, places = ranked(trimmed(real(diagonal(after[0])), ROWS, count), descending=False)
    vectors = a
    for found in after[1:]:
        turned = order(trimmed(found, ROWS, count), places)
        vectors = adjoint(turned / total(squares(turned), COLUMNS).apply("Sqrt"))
    values = values / scale
    return [*parts(vectors), frame.builder.reshape(values.value, shape(values)[:-1]), info(failed)]


def _turn(rest: Term, x: Term, *vectors: Term) -> Sequence[Term]:
    """Turn each pair of rows and columns so that the element that they share becomes zero, unless it is far below
    ``rest``: the phase of a number that is hardly above 0 has few digits.
    """
    b = x.builder
    count = int(str(shape(x)[ROWS]))
    first, second = range(count // 2), range(count // 2, count)
    between = elements(x, first, second)
    corners = real(elements(x, first, first)), real(elements(x, second, second))
    angle = angles(*corners, between, size(between) > rest * precision(x))
    # The columns as rows: the matrix is its own adjoint, and ONNX Runtime is slow along the last axis.
    x = rotated(adjoint(rotated(x, angle)), angle)
    # Exactly zero: what its rounding leaves there would keep the sweeps going.
    shared = np.roll(np.eye(count, dtype=bool), count // 2, axis=1)
    places = places_after(count)
    x = Term(b, b.constant(shared[np.ix_(places, places)])).choose(0.0, x)
    return [x, *(rotated(rows, angle) for rows in vectors)]


def _unsettled(rest: Term, x: Term, *vectors: Term) -> Term:
    """The matrices with an element beside the diagonal that is larger than ``rest``."""
    beside = indices(x, ROWS).equals(indices(x, COLUMNS)).choose(0.0, size(x))
    return largest(beside, ROWS, COLUMNS) > rest
