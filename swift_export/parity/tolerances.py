"""How far a runtime may be from the reference, and why that far."""

from __future__ import annotations

from dataclasses import dataclass

from swift_export.errors import UsageError

__all__ = ["TOLERANCES", "Tolerance", "tolerance"]


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
        "float32 rounds to 6e-8; two correct forwards that sum in different orders were 7e-7 apart, and the "
        "smallest planted fault that matters (one weight of an MLP, 1 %) moves the features further than this",
    ),
    ("float32", "gpu"): Tolerance(
        1e-5,
        1e-5,
        "with TF32 off a GPU rounds as a CPU does: only the order of sums and the last bits of exp and erf differ",
    ),
    ("tf32", "gpu"): Tolerance(
        5e-3,
        1e-2,
        "TF32 keeps 10 of 23 mantissa bits of every factor, 5e-4 a product, and twelve blocks add their errors up",
    ),
}


def tolerance(arithmetic: str, device: str) -> Tolerance:
    """The tolerance for matrix products in ``arithmetic`` on ``device``; raises UsageError where there is none."""
    if (arithmetic, device) not in TOLERANCES:
        known = ", ".join(" on ".join(key) for key in TOLERANCES)
        raise UsageError(f"no tolerance for {arithmetic} on {device}: expected {known}")
    return TOLERANCES[arithmetic, device]
