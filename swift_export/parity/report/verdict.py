"""A report in one sentence, for readers who are not engineers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swift_export.parity.report.figures import figure, margin, names, share, worst
from swift_export.parity.results import ParityReport

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """``word`` is Passed or Failed; ``text`` states the reason and the largest error."""

    word: str
    text: str


def judge(report: ParityReport) -> Verdict:
    """Whether the files compute the same as the original, and the error of the worst."""
    cells = report.artifacts
    differ = sum(bool(cell.failed_comparisons) for cell in cells)
    odd = sum(not cell.passed for cell in cells) - differ
    failed = differ or odd
    count = f"{failed} of {len(cells)}" if failed else f"all {len(cells)}"
    where = f"In {cells[0].runtime}" if len(cells) == 1 else f"In {count} combinations of file and runtime"
    if report.broken:
        broke = ", ".join(f"{broken.file} in {broken.runtime}" for broken in report.broken)
        others = f" Of the {len(cells)} others, {failed or 'none'} differ{'s' if failed == 1 else ''}." if cells else ""
        return Verdict("Failed", f"Did not finish: {broke}.{others}")
    if not failed:
        return Verdict("Passed", f"{where} the exported model computes the same as the original. {_largest(report)}")
    if not differ:
        wrong = next(setting for cell in cells for setting in cell.wrong_settings)
        said = f"At {wrong.place}, {wrong.name}: expected {wrong.expected}, found {wrong.found}."
        return Verdict("Failed", f"{where} the exported model does not match its weights. {said}")
    more = f" In {odd} more the exported model does not match its weights." if odd else ""
    return Verdict(
        "Failed", f"{where} the exported model does not compute the same as the original.{more} {_largest(report)}"
    )


def _largest(report: ParityReport) -> str:
    """The worst comparison of all, in the measure that is worse."""
    named = zip(names(report), report.artifacts, strict=True)
    found = [(furthest, name, cell) for name, cell in named if (furthest := worst(cell.comparisons))]
    if not found:
        return "No output was compared."
    comparison, name, cell = max(found, key=lambda entry: share(entry[0].difference, entry[0].allowed))
    difference, allowed = comparison.difference, comparison.allowed
    who = f" ({name} in {cell.runtime})" if len(report.artifacts) > 1 else ""
    value = share(difference, allowed)
    if not math.isfinite(value):
        return f"The worst output cannot be measured: {difference}{who}."
    measures = (
        (difference.relative_l2, allowed.relative_l2),
        (difference.relative_max, allowed.relative_max),
    )
    error, limit = max(measures, key=lambda pair: pair[0] / pair[1])
    if error == 0:
        return "The outputs are identical."
    return f"The largest error is {figure(error)}, {margin(value)} the allowed {limit:.2g}{who}."
