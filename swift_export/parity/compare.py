"""The two measures of a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from swift_export.parity.tolerances import Tolerance

__all__ = ["Difference", "compare"]

#: Elements at a time: float64 copies of a large map of features would cost more memory than the runtimes.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Difference:
    """How far an array is from its reference.

    ``relative_l2`` is the L2 norm of the difference over that of the reference, ``relative_max`` the largest magnitude
    of the difference over the largest of the reference; both infinite where the array is not finite, or differs from
    a reference that is zero everywhere. ``mismatch`` says what makes the two incomparable, if anything.
    """

    relative_l2: float
    relative_max: float
    non_finite: int
    mismatch: str | None = None

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
    squares = reference_squares = largest = reference_largest = 0.0
    non_finite = 0
    flat, reference_flat = found.reshape(-1), reference.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        a = flat[start : start + _CHUNK].astype(np.float64)
        b = reference_flat[start : start + _CHUNK].astype(np.float64)
        finite = np.isfinite(a)
        non_finite += a.size - int(finite.sum())
        difference = np.where(finite, a, b) - b
        squares += float(difference @ difference)
        reference_squares += float(b @ b)
        largest = max(largest, float(np.abs(difference).max()))
        reference_largest = max(reference_largest, float(np.abs(b).max()))
    if not math.isfinite(reference_squares):
        raise ValueError("the reference is not finite")
    if non_finite:
        return Difference(math.inf, math.inf, non_finite)
    return Difference(_ratio(math.sqrt(squares), math.sqrt(reference_squares)), _ratio(largest, reference_largest), 0)


def _ratio(error: float, reference: float) -> float:
    if reference:
        return error / reference
    return math.inf if error else 0.0
