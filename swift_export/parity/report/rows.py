"""A report as rows of text, and on the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swift_export.artifacts.manifest import Measurement
from swift_export.models.model import sizes_text
from swift_export.parity.report.figures import figure, names, run_seconds, seconds
from swift_export.parity.results import Checked, ParityReport
from swift_export.system.tables import text_table
from swift_export.system.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COLUMNS", "carried_row", "render", "rows"]

COLUMNS = ("artifact", "runtime", "input", "sizes", "output", "relative L2", "largest", "allowed", "seconds", "result")

_NUMBERS = frozenset({"relative L2", "largest", "allowed", "seconds"})


def rows(report: ParityReport) -> list[tuple[str, ...]]:
    """One row per comparison and one per file's settings, as text under `COLUMNS`."""
    found, listed = list[tuple[str, ...]](), set()
    for artifact, name in zip(report.artifacts, names(report), strict=True):
        found += _compared(artifact, name)
        # Settings belong to the file, not to a runtime.
        if artifact.settings and (name, artifact.settings) not in listed:
            listed.add((name, artifact.settings))
            wrong = len(artifact.wrong_settings)
            what = f"{len(artifact.settings)} settings read from its graph"
            found.append((name, what, *[""] * (len(COLUMNS) - 3), f"{wrong} WRONG" if wrong else "ok"))
    return found


def _compared(artifact: Checked, name: str) -> Iterator[tuple[str, ...]]:
    for c in artifact.comparisons:
        figures = (figure(c.difference.relative_l2), figure(c.difference.relative_max), f"{c.allowed.relative_l2:.2g}")
        place = (name, artifact.runtime, c.input, sizes_text(c.sizes), c.output)
        yield (*place, *figures, seconds(run_seconds(artifact, c)), "ok" if c.passed else "FAILED")


def carried_row(m: Measurement) -> tuple[str, ...]:
    """A measurement of an earlier check, under `COLUMNS`."""
    figures = (figure(m.relative_l2), figure(m.relative_max), f"{m.tolerance:.2g}")
    result = "ok" if max(m.relative_l2, m.relative_max) <= m.tolerance else "FAILED"
    return (m.file, m.runtime, m.input, sizes_text(m.known_sizes), m.output, *figures, "", result)


def render(report: ParityReport, console: Console) -> None:
    """Print the table, and below it the place of each fault."""
    from rich.text import Text

    console.print(text_table(COLUMNS, rows(report), numbers=_NUMBERS, wrong=lambda row: row[-1] != "ok"))
    for broken in report.broken:
        console.print(
            Text(one_line(f"{broken.file} in {broken.runtime}: {broken.reason}")), style="red", soft_wrap=True
        )
    for note in report.notes:
        console.print(Text(one_line(f"note: {note}")), soft_wrap=True)
    for artifact, name in zip(report.artifacts, names(report), strict=True):
        for line in _faults(artifact):
            console.print(Text(one_line(f"{name} in {artifact.runtime}: {line}")), style="red", soft_wrap=True)


def _faults(artifact: Checked) -> Iterator[str]:
    """Details of a failing artifact that are not in the table."""
    if artifact.fault:
        before = f"; {artifact.fault.before} still agrees" if artifact.fault.before else ""
        yield f"{artifact.fault}{before}"
    if artifact.wrong_settings:
        first, *others = artifact.wrong_settings
        more = f"; and {len(others)} more" if others else ""
        yield f"{first.place}: {first.name}: expected {first.expected}, found {first.found}{more}"
