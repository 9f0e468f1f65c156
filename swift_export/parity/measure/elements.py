"""Arrays of any type of elements: random ones, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import Tolerance, tolerance

__all__ = ["Distance", "allowed_for", "distance", "draw"]

_DOUBLE = Tolerance(
    1e-12,
    1e-12,
    "float64 rounds to 1e-16, sums and elementary functions lose a few digits of it; float32 anywhere on the way would "
    "show at 1e-7",
)
#: From the finest to the coarsest.
_FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Distance:
    """How an array differs from the one that is right, in words; ``passed`` says whether that is allowed."""

    words: str
    passed: bool


def draw(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Random elements: standard normal ones; integers of which half are small and none negative, as indices are.

    The other half reaches from -100 to 100, or from 0 to 200, as far as the type does.
    """
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (-100, 100) if dtype.kind == "i" else (0, 200)
        wide = rng.integers(max(low, limits.min), min(high, limits.max), shape, endpoint=True)
        return np.where(rng.integers(0, 2, shape) > 0, wide, rng.integers(0, 8, shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def allowed_for(floats: frozenset[str]) -> Tolerance:
    """The project's tolerance for a computation in these floating-point types: that of the coarsest."""
    coarsest = max(floats, key=_FLOATS.index, default="float64")
    return _DOUBLE if coarsest == "float64" else tolerance(coarsest, "cpu")


def distance(found: np.ndarray, right: np.ndarray, allowed: Tolerance) -> Distance:
    """Integers and booleans have to be equal; of floating-point numbers, what is not finite has to be at its place,
    and the rest within ``allowed`` by the project's two measures.
    """
    if found.shape != right.shape or found.dtype != right.dtype:
        return Distance(f"expected {right.dtype} {right.shape}, found {found.dtype} {found.shape}", False)
    if not right.size:
        return Distance("empty", True)
    if right.dtype.kind in "iub":
        return _exact(found != right, found, right)
    misplaced = (np.isnan(found) != np.isnan(right)) | ((np.isinf(found) | np.isinf(right)) & (found != right))
    if misplaced.any():
        return _exact(misplaced, found, right)
    finite = np.isfinite(right)
    scale = _scale(right[finite])
    measured = compare(
        np.where(finite, found, 0).astype(np.float64) * scale, np.where(finite, right, 0).astype(np.float64) * scale
    )
    limits = f"allowed {allowed.relative_l2:g} and {allowed.relative_max:g}"
    return Distance(f"{measured} ({limits})", measured.within(allowed))


def _exact(differs: np.ndarray, found: np.ndarray, right: np.ndarray) -> Distance:
    count = int(differs.sum())
    if not count:
        return Distance("equal", True)
    place = tuple(int(i) for i in np.argwhere(differs)[0])
    index = ", ".join(map(str, place))
    return Distance(
        f"{count} of {right.size} elements differ, first ({index}): expected {right[place]}, found {found[place]}",
        False,
    )


def _scale(values: np.ndarray) -> float:
    """A power of two that keeps the squares of float64 numbers from overflowing; it changes no ratio."""
    largest = float(np.abs(values.astype(np.float64)).max(initial=0))
    return 2.0 ** -int(np.frexp(largest)[1]) if largest > 1e100 else 1.0
