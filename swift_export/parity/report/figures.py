"""Formats numbers and names for readers, and compares errors with tolerances."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from pathlib import Path

from swift_export._version import __version__
from swift_export.parity.measure.compare import Difference, Worst
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Checked, Comparison, ParityReport, RunTime

__all__ = [
    "TOOL",
    "cosine",
    "element",
    "figure",
    "limits",
    "margin",
    "memory",
    "names",
    "run_seconds",
    "seconds",
    "share",
    "times_as",
    "worst",
]


#: The program that wrote a report.
TOOL = f"swift-export {__version__}"


def figure(value: float) -> str:
    """An error with two digits."""
    return f"{value:.1e}" if math.isfinite(value) else "-"


def cosine(value: float | None) -> str:
    """A cosine similarity; near 1, its distance from 1."""
    if value is None:
        return "-"
    missing = 1 - value
    if missing > 1e-3:
        return f"{value:.4f}"
    return f"1 - {missing:.0e}" if missing > 0 else "1"


def element(value: Worst | None) -> str:
    """The element with the largest difference, with enough digits to distinguish two float32 numbers."""
    if value is None:
        return "-"
    found = "not finite" if value.found is None else f"{value.found:.9g}"
    return f"({', '.join(map(str, value.index))}): expected {value.expected:.9g}, found {found}"


def limits(allowed: Tolerance) -> str:
    """The limits of both measures; one number if they are equal."""
    return " and ".join(dict.fromkeys(f"{limit:.2g}" for limit in (allowed.relative_l2, allowed.relative_max)))


def seconds(value: float | None) -> str:
    """A duration in seconds; short ones have three digits."""
    if value is None:
        return ""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def memory(size: int) -> str:
    """A number of bytes."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def run_seconds(artifact: Checked, comparison: Comparison) -> float | None:
    """The duration of a comparison's run: the median warm call if there is one, else the first call."""
    for time in artifact.times:
        if (time.input, time.sizes) == (comparison.input, comparison.sizes):
            return _one_call(time)
    return None


def _one_call(time: RunTime) -> float:
    return statistics.median(time.call_s) if time.call_s else time.first_s


def share(difference: Difference, allowed: Tolerance) -> float:
    """The larger ratio of error to limit of both measures; infinite if the outputs cannot be compared."""
    if difference.mismatch or difference.non_finite:
        return math.inf
    return max(difference.relative_l2 / allowed.relative_l2, difference.relative_max / allowed.relative_max)


def worst(comparisons: Iterable[Comparison]) -> Comparison | None:
    """The comparison with the largest ratio of error to limit; None without comparisons."""
    return max(comparisons, key=lambda c: share(c.difference, c.allowed), default=None)


def margin(value: float) -> str:
    """A finite ratio of error to limit in words: ``14 times below``."""
    if value == 0:
        return "no difference"
    return f"{times_as(value)} above" if value > 1 else f"{times_as(1 / value)} below"


def times_as(factor: float) -> str:
    """A factor in words."""
    return f"{factor:.1f} times" if factor < 10 else f"{factor:,.0f} times"


def names(report: ParityReport) -> list[str]:
    """The name of each artifact's file, with its folder if there are several."""
    several = len({artifact.root for artifact in report.artifacts}) > 1
    return [f"{Path(a.root).name}/{a.file}" if several else a.file for a in report.artifacts]
