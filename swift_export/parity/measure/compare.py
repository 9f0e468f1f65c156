"""Compares an array with its reference: by two measures for floating-point numbers, by equality for other types."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swift_export.parity.measure.tolerances import Tolerance
from swift_export.system.arrays import as_pairs, is_float, is_integer

__all__ = ["Difference", "Worst", "compare"]

#: Elements per step: float64 copies of a large output would need more memory than the runtimes.
_CHUNK = 1 << 20
#: Larger float64 numbers are scaled down: their squares would overflow.
_LARGE = 1e100


@dataclass(frozen=True)
class Worst:
    """The element with the largest difference: its index, the reference's value and the array's (None: not finite)."""

    index: tuple[int, ...]
    expected: float
    found: float | None

    def __str__(self) -> str:
        found = "not finite" if self.found is None else f"{self.found:.6g}"
        return f"({', '.join(map(str, self.index))}): expected {self.expected:.6g}, found {found}"


@dataclass(frozen=True)
class Difference:
    """The difference of an array from its reference.

    ``relative_l2`` is the L2 norm of the difference over that of the reference, ``relative_max`` the largest magnitude
    of the difference over that of the reference. For a sum, the size of its terms replaces the reference if it is
    larger. Both are infinite if the array is not finite, or differs from an all-zero reference. ``mismatch`` states why
    the two cannot be compared. ``cosine`` is the cosine similarity, None if it is undefined: for values that are not
    finite, or all zero.
    """

    relative_l2: float
    relative_max: float
    non_finite: int
    mismatch: str | None = None
    cosine: float | None = None
    worst: Worst | None = None

    def within(self, allowed: Tolerance) -> bool:
        """Whether the array passes. Non-finite values and mismatches never pass."""
        return (
            self.mismatch is None
            and self.non_finite == 0
            and self.relative_l2 <= allowed.relative_l2
            and self.relative_max <= allowed.relative_max
        )

    def __str__(self) -> str:
        if self.mismatch:
            return self.mismatch
        figures = f"relative L2 {self.relative_l2:.2g}, largest {self.relative_max:.2g}"
        return f"{self.non_finite} values not finite" if self.non_finite else figures


def compare(
    found: np.ndarray, reference: np.ndarray, *, same_non_finite: bool = False, terms: np.ndarray | None = None
) -> Difference:
    """Measure ``found`` against ``reference``, accumulating in float64.

    Floating-point numbers of every type are measured; complex ones as pairs along a last axis, the form that they have
    in ONNX files. Integers and booleans must be equal; their failures are mismatches. With ``same_non_finite``, NaN and
    infinity are right where the reference has the same, and a mismatch elsewhere. Without it, they always fail, and a
    reference with such values raises ValueError. For sums, ``terms`` are the sizes of their terms.
    """
    found, reference = as_pairs(found), as_pairs(reference)
    if found.shape != reference.shape or found.dtype != reference.dtype:
        expected = f"{reference.dtype} {reference.shape}"
        return _mismatch(f"expected {expected}, found {found.dtype} {found.shape}")
    if is_integer(reference.dtype) or reference.dtype.kind == "b":
        return _exact(found != reference, found, reference)
    if not is_float(reference.dtype):
        return _mismatch(f"{reference.dtype}: expected numbers")
    if same_non_finite:
        both = np.isnan(found) & np.isnan(reference)
        finite = np.isfinite(reference)
        misplaced = ~(np.isfinite(found) & finite | both | (found == reference))
        if misplaced.any():
            return _exact(misplaced, found, reference)
        zero = np.zeros((), reference.dtype)
        found, reference = np.where(finite, found, zero), np.where(finite, reference, zero)
    return _measured(found, reference, terms)


def _measured(found: np.ndarray, reference: np.ndarray, terms: np.ndarray | None) -> Difference:
    """Measure floating-point numbers of one type and shape; raises ValueError if the reference is not finite."""
    squares = found_squares = reference_squares = product = 0.0
    largest, place, reference_largest, non_finite = -1.0, 0, 0.0, 0
    flat, reference_flat = found.reshape(-1), reference.reshape(-1)
    scale = _scale(flat, reference_flat)
    for start in range(0, flat.size, _CHUNK):
        a = flat[start : start + _CHUNK].astype(np.float64) * scale
        b = reference_flat[start : start + _CHUNK].astype(np.float64) * scale
        finite = np.isfinite(a)
        non_finite += a.size - int(finite.sum())
        # Non-finite values count as the largest difference; the sums are then not used.
        difference = np.where(finite, a, np.inf) - b
        furthest = int(np.abs(difference).argmax())
        if abs(difference[furthest]) > largest:
            largest, place = float(abs(difference[furthest])), start + furthest
        reference_largest = max(reference_largest, float(np.abs(b).max()))
        reference_squares += float(b @ b)
        if not non_finite:
            squares += float(difference @ difference)
            found_squares += float(a @ a)
            product += float(a @ b)
    if not math.isfinite(reference_squares):
        raise ValueError("the reference is not finite")
    if not flat.size:
        return Difference(0.0, 0.0, 0)
    index = tuple(int(i) for i in np.unravel_index(place, found.shape))
    if non_finite:
        return Difference(math.inf, math.inf, non_finite, worst=Worst(index, float(reference[index]), None))
    norms = math.sqrt(found_squares) * math.sqrt(reference_squares)
    whole, highest = math.sqrt(reference_squares), reference_largest
    if terms is not None:
        sizes = terms.astype(np.float64).reshape(-1) * scale
        whole, highest = max(whole, float(np.linalg.norm(sizes))), max(highest, float(np.abs(sizes).max()))
    return Difference(
        _ratio(math.sqrt(squares), whole),
        _ratio(largest, highest),
        0,
        cosine=min(1.0, max(-1.0, product / norms)) if norms else None,
        worst=Worst(index, float(reference[index]), float(found[index])),
    )


def _mismatch(words: str) -> Difference:
    return Difference(math.inf, math.inf, 0, words)


def _exact(differs: np.ndarray, found: np.ndarray, reference: np.ndarray) -> Difference:
    """Compare values that must be equal; ``differs`` marks the others."""
    count = int(differs.sum())
    if not count:
        return Difference(0.0, 0.0, 0)
    place = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
    example = f"first ({', '.join(map(str, place))}): expected {reference[place]}, found {found[place]}"
    return _mismatch(f"{count} of {reference.size} elements differ, {example}")


def _scale(*arrays: np.ndarray) -> float:
    """A power of two that prevents overflow in the squares of float64 numbers, without changing ratios."""
    if arrays[0].dtype != np.float64:
        return 1.0
    finite = (np.abs(array[np.isfinite(array)]).max(initial=0) for array in arrays)
    largest = float(max(finite))
    return 2.0 ** -int(np.frexp(largest)[1]) if largest > _LARGE else 1.0


def _ratio(error: float, reference: float) -> float:
    if reference:
        return error / reference
    return math.inf if error else 0.0
