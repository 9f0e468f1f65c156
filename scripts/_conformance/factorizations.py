"""Linear algebra: what factors must satisfy where they are not unique, and how large errors may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from _conformance.rounding import EPSILONS, wide

__all__ = ["FACTORS", "VECTORS", "as_accurate", "other_vectors"]

#: Primitives whose vectors are only determined up to signs, and up to bases for equal values.
VECTORS = frozenset({"eigh", "svd"})
#: Primitives with one right result.
FACTORS = frozenset({"cholesky", "custom_linear_solve", "lu", "qr", "triangular_solve", "tridiagonal_solve"})

#: Ours may be so many times as far from the exact result as JAX is, or by so many roundings of its largest number.
MULTIPLE, ROUNDINGS = 4, 8


def as_accurate(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], exact: Sequence[np.ndarray] | None) -> str:
    """Errors of at most four times JAX's, or of eight roundings of the largest number; in 64-bit types, where no wider
    type tells the errors, a distance from JAX of eight roundings for each row.
    """
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if theirs.dtype.kind in "iub":
            if not np.array_equal(ours, theirs):
                return ""
            continue
        a, b = wide(ours), wide(theirs)
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return ""
        rounding = EPSILONS[theirs.dtype.name] * np.abs(b[finite]).max(initial=0)
        truth, allowed = b, ROUNDINGS * max(theirs.shape[-2:], default=1) * rounding
        if exact is not None:
            truth = exact[i]
            allowed = max(MULTIPLE * np.abs(b - truth)[finite].max(initial=0), ROUNDINGS * rounding)
        if not np.abs(a - truth)[finite].max(initial=0) <= allowed:
            return ""
    if exact is None:
        return "within eight roundings of the largest number for each row"
    return "error at most four times JAX's, or eight roundings of the largest number"


def other_vectors(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    """Signs of vectors and bases for equal values are free; values, products and unitarity must be as expected."""
    (values, *vectors), (right, *others) = (sorted(arrays, key=lambda a: a.ndim) for arrays in (found, expected))
    if not np.isfinite([np.abs(a).max(initial=0) for a in found]).all() or not values.size:
        return ""
    limit = ROUNDINGS * max(a.shape[-1] for a in found) * EPSILONS[str(right.dtype)]

    def whole(values: np.ndarray, vectors: list[np.ndarray]) -> np.ndarray:
        left, back = (vectors * 2)[:2]
        back = back if len(vectors) == 2 else np.conj(back).swapaxes(-1, -2)
        count = values.shape[-1]
        return np.asarray((left[..., :count] * values[..., None, :]) @ back[..., :count, :])

    scale = np.abs(right).max(-1, keepdims=True)
    same = bool((np.abs(values - right) <= limit * scale).all())
    if vectors:
        difference = np.abs(whole(values, vectors) - whole(right, others))
        same &= bool((difference <= limit * scale[..., None]).all())
    for a, rows in zip(vectors, (False, True), strict=False):
        columns = np.conj(a).swapaxes(-1, -2) if rows else a
        products = np.conj(columns).swapaxes(-1, -2) @ columns
        same &= bool((np.abs(products - np.eye(products.shape[-1])) <= limit).all())
    return "vectors of other signs or bases" if same else ""
