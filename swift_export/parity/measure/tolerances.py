"""Tolerances of runtimes, with their reasons."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from swift_export.errors import ArtifactError, UsageError
from swift_export.formats.element_types import FLOATING
from swift_export.quantization.record import Quantization

__all__ = [
    "INTEGER_TOLERANCES",
    "POLICY",
    "TOLERANCES",
    "WIDEST",
    "Limits",
    "Tolerance",
    "allowed_for",
    "coarser",
    "integer_tolerance",
    "of_sums",
    "recorded_tolerance",
    "tolerance",
    "widened",
]


@dataclass(frozen=True)
class Tolerance:
    """Largest relative L2 error, largest error over the reference's largest magnitude, and the reason for both."""

    relative_l2: float
    relative_max: float
    reason: str


#: By the number format of matrix products and the kind of device. Other formats are not accepted.
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
        "TF32 keeps 10 of 23 mantissa bits of every factor, 5e-4 a product, and the errors of a dozen blocks add up",
    ),
    ("float16", "cpu"): Tolerance(
        5e-3,
        1e-2,
        "the definition computed in float16 is 1.5e-3 from float32 for ordinary weights; runtimes round in other "
        "places, and other weights amplify rounding more; overflow shows as values that are not finite, which no "
        "tolerance allows",
    ),
    ("float16", "gpu"): Tolerance(
        5e-3,
        1e-2,
        "as float16 on a CPU: 10 mantissa bits of every value; products are summed in float32 where the card does so",
    ),
    ("bfloat16", "cpu"): Tolerance(
        4e-2,
        8e-2,
        "the definition computed in bfloat16 is 1.5e-2 from float32 for ordinary weights; the rest is room as for "
        "float16, which rounds eight times less",
    ),
    ("bfloat16", "gpu"): Tolerance(
        4e-2,
        8e-2,
        "as bfloat16 on a CPU: 7 mantissa bits of every value; products are summed in float32 where the card does so",
    ),
}

_WEIGHTS_BY_EYE = "; the weights themselves are compared with the model's, each to half a step"

#: The most that files with integer weights may differ, by method. An artifact records a tolerance of its own below it.
INTEGER_TOLERANCES = {
    "int8": Tolerance(
        6e-2,
        1.2e-1,
        "a step of 8 bits is 1/127 of a channel's largest weight, one of 7 bits 1/127 of an activation's range: "
        "0.5 % a product, which a dozen blocks add up to 2e-2 for the published sizes" + _WEIGHTS_BY_EYE,
    ),
    "weights-int8": Tolerance(
        6e-2,
        1.2e-1,
        "a step of 8 bits is 1/128 of the largest of 32 weights: 0.5 % a product, 2e-2 after a dozen blocks of the "
        "published sizes" + _WEIGHTS_BY_EYE,
    ),
    "weights-int4": Tolerance(
        5e-1,
        1.0,
        "a step of 4 bits is 1/8 of the largest of 32 weights: 8 % a product, 0.2 after a dozen blocks of the "
        "published sizes; more than half of the result would be noise" + _WEIGHTS_BY_EYE,
    ),
}

#: What two kernels for the same integers, and other inputs, may add to a measured error.
_SPREAD = 2.0

_DOUBLE = Tolerance(
    1e-12,
    1e-12,
    "float64 rounds to 1e-16, sums and elementary functions lose a few digits of it; float32 anywhere on the way would "
    "show at 1e-7",
)

_OF_SUMS = (
    "; the output is a sum, so errors are relative to the size of its terms where these cancel: a sum near zero has "
    "fewer correct digits than they have"
)

#: The limit for any weights: ten times the noise of the most sensitive golden case, whose attention scores reach 37.
WIDEST = 1e-4


def tolerance(arithmetic: str, device: str) -> Tolerance:
    """The tolerance for matrix products in ``arithmetic`` on ``device``; raises UsageError if there is none."""
    if (arithmetic, device) not in TOLERANCES:
        known = ", ".join(" on ".join(key) for key in TOLERANCES)
        raise UsageError(f"no tolerance for {arithmetic} on {device}: expected {known}")
    return TOLERANCES[arithmetic, device]


def integer_tolerance(method: str, measured: tuple[float, float]) -> Tolerance:
    """The tolerance of an artifact with integer weights, from its ``measured`` errors: L2 and largest.

    It is twice the errors, at least float32's and at most the method's in `INTEGER_TOLERANCES`.
    """
    base, most = tolerance("float32", "cpu"), INTEGER_TOLERANCES[method]
    relative_l2, relative_max = (
        min(max(_SPREAD * error, least), limit)
        for error, least, limit in zip(
            measured,
            (base.relative_l2, base.relative_max),
            (most.relative_l2, most.relative_max),
            strict=True,
        )
    )
    return Tolerance(
        relative_l2,
        relative_max,
        f"twice the largest error measured on inputs outside of the calibration, {measured[0]:.1e} and "
        f"{measured[1]:.1e}, for other inputs and kernels; {most.reason}",
    )


def recorded_tolerance(record: Quantization, where: object) -> Tolerance:
    """The tolerance in an artifact's own record; raises ArtifactError for one that no export of its method has."""
    most = INTEGER_TOLERANCES[record.method]
    found = (record.relative_l2, record.relative_max)
    for value, limit in zip(found, (most.relative_l2, most.relative_max), strict=True):
        if value is None or not 0 < value <= limit:
            raise ArtifactError(
                f"{where}: quantization: expected tolerances up to {most.relative_l2:g} and {most.relative_max:g} for "
                f"{record.method}, found {found[0]} and {found[1]}; export again"
            )
    return Tolerance(record.relative_l2 or 0.0, record.relative_max or 0.0, record.reason or most.reason)


def coarser(one: Tolerance, other: Tolerance | None) -> Tolerance:
    """The wider of two tolerances, by L2."""
    return one if other is None or one.relative_l2 > other.relative_l2 else other


def allowed_for(floats: Collection[str], usual: Tolerance | None = None) -> Tolerance:
    """The tolerance for a computation in these floating-point types, which is that of the coarsest.

    ``usual`` is the tolerance for float32, by default on a CPU; a coarser type has at least that. Raises UsageError for
    a type without a tolerance.
    """
    usual = usual or tolerance("float32", "cpu")
    for name in floats:
        if name not in FLOATING:
            raise UsageError(f"no tolerance for {name}: expected {', '.join(FLOATING)}")
    coarsest = max(floats, key=FLOATING.index, default="float64")
    if coarsest == "float64":
        return _DOUBLE
    coarse = tolerance(coarsest, "cpu")
    return coarser(usual, coarse)


def of_sums(allowed: Tolerance) -> Tolerance:
    """The tolerance for outputs that are sums: equal limits, relative to the size of the terms where that is larger."""
    if allowed.reason.endswith(_OF_SUMS):  # recorded with golden outputs
        return allowed
    return replace(allowed, reason=allowed.reason + _OF_SUMS)


def widened(base: Tolerance, noise_l2: float, noise_max: float) -> Tolerance:
    """The tolerance for weights that make float32 itself noisy; ``base`` for others.

    The noise is the change of the reference, in both measures, when every weight changes in its last bit. For the
    golden cases, it is as large as the distance of float32 from float64: 4e-7 for most, 8e-6 for `sharp`.
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


@dataclass(frozen=True)
class Limits:
    """A user's limits instead of the policy's: the two measures, None for the policy's own, and a reason.

    Without a reason, they may only be stricter than the policy.
    """

    relative_l2: float | None = None
    relative_max: float | None = None
    reason: str | None = None

    def check(self, arithmetic: str, device: str) -> None:
        """Raise UsageError for an invalid limit, and for a looser one than the policy's without a reason."""
        policy = tolerance(arithmetic, device)
        given = {
            "--max-l2": (self.relative_l2, policy.relative_l2),
            "--max-error": (self.relative_max, policy.relative_max),
        }
        for option, (value, allowed) in given.items():
            if value is None:
                continue
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{option} {value:g}: expected a number above 0")
            if value > allowed and not self._reason:
                raise UsageError(
                    f"{option} {value:g}: looser than the {allowed:g} that {arithmetic} on {device} is held to; "
                    "say why with --tolerance-reason, which the report records"
                )
        if self._reason and not self.given:
            raise UsageError("--tolerance-reason: expected --max-l2 or --max-error with it, found neither; give one")

    @property
    def given(self) -> bool:
        """Whether there is a limit to apply."""
        return self.relative_l2 is not None or self.relative_max is not None

    def applied(self, policy: Tolerance) -> Tolerance:
        """The applied tolerance in place of the policy's."""
        if not self.given:
            return policy
        limits = Tolerance(
            policy.relative_l2 if self.relative_l2 is None else self.relative_l2,
            policy.relative_max if self.relative_max is None else self.relative_max,
            f"asked for: {self._reason}; without that, {policy.relative_l2:g} and {policy.relative_max:g} are allowed",
        )
        if self._reason:
            return limits
        # Also if a file computes in another format than requested, to which that format's policy applies.
        return Tolerance(
            min(limits.relative_l2, policy.relative_l2),
            min(limits.relative_max, policy.relative_max),
            f"asked to be stricter than the usual {policy.relative_l2:g} and {policy.relative_max:g}",
        )

    @property
    def _reason(self) -> str:
        return " ".join((self.reason or "").split())


#: The policy's limits.
POLICY = Limits()
