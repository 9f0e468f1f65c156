"""How far a runtime may be from the reference, and why that far."""

from __future__ import annotations

from dataclasses import dataclass

from swift_export.errors import UsageError

__all__ = ["TOLERANCES", "WIDEST", "Tolerance", "tolerance", "widened"]


@dataclass(frozen=True)
class Tolerance:
    """Largest relative L2 error, largest error over the reference's largest magnitude, and the reason for both."""

    relative_l2: float
    relative_max: float
    reason: str


#: By the number format of the matrix products and the kind of device. A format that is not here is not accepted.
TOLERANCES = {
    ("float32", "cpu"): Tolerance(
        1e-5,
        1e-5,
        "float32 rounds to 6e-8, and correct forwards that sum in other orders were 7e-7 apart; the rest is room for "
        "other processors and other weights, and the faults that hide below it are read from the graph",
    ),
    ("float32", "gpu"): Tolerance(
        1e-5,
        1e-5,
        "with TF32 off a GPU rounds as a CPU does: the order of sums differs, and the last bits of exp and erf",
    ),
    ("tf32", "gpu"): Tolerance(
        5e-3,
        1e-2,
        "TF32 keeps 10 of 23 mantissa bits of every factor, 5e-4 a product, and twelve blocks add their errors up",
    ),
}


#: No weights excuse more: ten times the noise of the sharpest golden case, whose scores reach 37.
WIDEST = 1e-4


def tolerance(arithmetic: str, device: str) -> Tolerance:
    """The tolerance for matrix products in ``arithmetic`` on ``device``; raises UsageError where there is none."""
    if (arithmetic, device) not in TOLERANCES:
        known = ", ".join(" on ".join(key) for key in TOLERANCES)
        raise UsageError(f"no tolerance for {arithmetic} on {device}: expected {known}")
    return TOLERANCES[arithmetic, device]


def widened(base: Tolerance, noise_l2: float, noise_max: float) -> Tolerance:
    """The tolerance for weights that make float32 itself noisy; ``base`` where they do not.

    The noise is how far the reference moves, in both measures, when every weight changes in its last bit. For the
    golden cases it is as large as the distance of float32 from float64: 4e-7 for most, 8e-6 for `sharp`.
    """
    relative_l2, relative_max = (
        max(allowed, min(4 * noise, WIDEST))
        for allowed, noise in ((base.relative_l2, noise_l2), (base.relative_max, noise_max))
    )
    if (relative_l2, relative_max) == (base.relative_l2, base.relative_max):
        return base
    return Tolerance(
        relative_l2,
        relative_max,
        "these weights amplify rounding: with each one changed in its last bit the reference itself moves by "
        f"{noise_l2:.1e} and {noise_max:.1e}; two runtimes may each stray that far, taken twice for chance, and no "
        f"more than {WIDEST:g}",
    )
