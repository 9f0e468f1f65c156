"""A report as parity.md."""

from __future__ import annotations

from collections.abc import Sequence

from swift_export.artifacts.manifest import Measurement
from swift_export.parity.report.rows import COLUMNS, carried_row, rows
from swift_export.parity.results import ParityReport
from swift_export.runtimes.base import RuntimeInfo

__all__ = ["table", "to_markdown"]


def to_markdown(report: ParityReport, carried: Sequence[Measurement] = ()) -> str:
    """The text of parity.md; ``carried`` are measurements of earlier checks that still hold."""
    tags = sorted({a.weights for a in report.artifacts}, key=lambda tag: tag.digest)
    lines = ["# Parity", "", f"Reference: {_who(report.reference)}, float32 at the highest precision.", ""]
    for tag in tags:
        note = " Synthetic weights: the features mean nothing." if tag.synthetic else ""
        lines.append(f"Weights: {tag.variant}, digest `{tag.digest}`.{note}")
    lines += ["", f"Result: {'passed' if report.passed else 'FAILED'}.", ""]
    if report.failures:
        lines += [*(f"- {failure}" for failure in report.failures), ""]
    lines += table(COLUMNS, rows(report))
    reasons = {(a.info.arithmetic, c.allowed) for a in report.artifacts for c in a.comparisons}
    for arithmetic, allowed in sorted(reasons, key=lambda pair: (pair[0], pair[1].relative_l2)):
        lines += ["", f"Allowed for {arithmetic}: {allowed.relative_l2:.2g} and {allowed.relative_max:.2g}."]
        lines.append(f"Reason: {allowed.reason}.")
    if carried:
        lines += ["", "## From earlier checks", ""]
        lines += table(COLUMNS, [carried_row(measurement) for measurement in carried])
    return "\n".join(lines) + "\n"


def _who(info: RuntimeInfo) -> str:
    return f"{info.name} {info.version} on {info.device}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
