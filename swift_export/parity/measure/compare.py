"""The two measures of a difference, and what helps to understand one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from swift_export.parity.measure.tolerances import Tolerance

__all__ = ["Difference", "Worst", "compare"]

#: Elements at a time: float64 copies of a large map of features would cost more memory than the runtimes.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Worst:
    """The element that is furthest off: its place, the reference's value and the array's (None: not finite)."""

    index: tuple[int, ...]
    expected: float
    found: float | None

    def __str__(self) -> str:
        found = "not finite" if self.found is None else f"{self.found:.6g}"
        return f"({', '.join(map(str, self.index))}): expected {self.expected:.6g}, found {found}"


@dataclass(frozen=True)
class Difference:
    """How far an array is from its reference.

    ``relative_l2`` is the L2 norm of the difference over that of the reference, ``relative_max`` the largest magnitude
    of the difference over the largest of the reference; both infinite where the array is not finite, or differs from
    a reference that is zero everywhere. ``mismatch`` says what makes the two incomparable, if anything. ``cosine`` is
    the cosine similarity, None where there is none: values that are not finite, or all zero.
    """

    relative_l2: float
    relative_max: float
    non_finite: int
    mismatch: str | None = None
    cosine: float | None = None
    worst: Worst | None = None

    def within(self, allowed: Tolerance) -> bool:
        """Whether the array passes. Non-finite values and mismatches never do."""
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


def compare(found: Float[np.ndarray, " *shape"], reference: Float[np.ndarray, " *shape"]) -> Difference:
    """Measure ``found`` against a finite ``reference``, accumulating in float64.

    Raises ValueError when the reference is not finite: nothing can be measured against it.
    """
    if found.shape != reference.shape or found.dtype != reference.dtype:
        expected = f"{reference.dtype} {reference.shape}"
        return Difference(math.inf, math.inf, 0, f"expected {expected}, found {found.dtype} {found.shape}")
    squares = found_squares = reference_squares = product = 0.0
    largest, place, reference_largest, non_finite = -1.0, 0, 0.0, 0
    flat, reference_flat = found.reshape(-1), reference.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        a = flat[start : start + _CHUNK].astype(np.float64)
        b = reference_flat[start : start + _CHUNK].astype(np.float64)
        finite = np.isfinite(a)
        non_finite += a.size - int(finite.sum())
        # What is not finite is further off than anything else; the sums are then not used.
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
    index = tuple(int(i) for i in np.unravel_index(place, found.shape))
    if non_finite:
        return Difference(math.inf, math.inf, non_finite, worst=Worst(index, float(reference[index]), None))
    norms = math.sqrt(found_squares) * math.sqrt(reference_squares)
    return Difference(
        _ratio(math.sqrt(squares), math.sqrt(reference_squares)),
        _ratio(largest, reference_largest),
        0,
        cosine=min(1.0, max(-1.0, product / norms)) if norms else None,
        worst=Worst(index, float(reference[index]), float(found[index])),
    )


def _ratio(error: float, reference: float) -> float:
    if reference:
        return error / reference
    return math.inf if error else 0.0
