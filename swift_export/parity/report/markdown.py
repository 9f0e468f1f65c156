"""A report as parity.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from swift_export.artifacts.manifest import Measurement
from swift_export.models.model import sizes_text
from swift_export.models.provenance import SYNTHETIC_WARNING
from swift_export.parity.report.figures import (
    TOOL,
    cosine,
    element,
    figure,
    limits,
    memory,
    run_seconds,
    seconds,
)
from swift_export.parity.report.matrix import Cell, Matrix, build_matrix
from swift_export.parity.report.provenance import allowances, computers, facts, settings_read, weights_tags
from swift_export.parity.report.rows import COLUMNS, carried_row
from swift_export.parity.report.verdict import judge
from swift_export.parity.results import ParityReport
from swift_export.runtimes.base import RuntimeInfo
from swift_export.system.text import printable

__all__ = ["table", "to_markdown"]

_COMPARED = ("artifact", "runtime", "input", "sizes", "output", "relative L2", "largest", "allowed", "cosine")
_COMPARISON_COLUMNS = (*_COMPARED, "worst element", "not finite", "seconds", "result")
_RUNTIME_COLUMNS = ("runtime", "version", "device", "arithmetic", "settings", "providers")


def to_markdown(report: ParityReport, carried: Sequence[Measurement] = ()) -> str:
    """The text of parity.md; ``carried`` are still valid measurements of earlier checks."""
    verdict, matrix = judge(report), build_matrix(report)
    lines = ["# Parity", "", f"**{verdict.word}.** {_safe(verdict.text)}", ""]
    if any(tag.synthetic for tag in weights_tags(report)):
        lines += [f"{SYNTHETIC_WARNING.capitalize()}.", ""]
    if report.failures:
        lines += ["## Failures", "", *(f"- {_safe(failure)}" for failure in report.failures), ""]
    lines += ["## Results by file and runtime", "", *_matrix(matrix), ""]
    if report.notes:
        lines += [*(f"- {_safe(note)}" for note in report.notes), ""]
    compared = [row for cell in matrix.cells for row in _comparisons(cell)]
    lines += ["## All comparisons", "", *table(_COMPARISON_COLUMNS, compared)]
    if carried:
        lines += ["", "## From earlier checks", "", *table(COLUMNS, [carried_row(measured) for measured in carried])]
    lines += ["", "## Tolerances", ""]
    for arithmetic, allowed in allowances(report):
        lines += [f"- {arithmetic}, relative L2 and largest: {limits(allowed)}. {_safe(allowed.reason)}."]
    return "\n".join([*lines, "", *_provenance(report, matrix)]) + "\n"


def _matrix(matrix: Matrix) -> list[str]:
    columns = [f"{column.name} {column.version}" for column in matrix.columns]
    rows = [[name, *("; ".join(map(_cell, cells)) for cells in row)] for name, row in matrix.rows]
    return table(("artifact", *columns), rows)


def _cell(cell: Cell) -> str:
    return ", ".join(("ok" if cell.passed else "FAILED", *cell.lines))


def _comparisons(cell: Cell) -> Iterator[tuple[str, ...]]:
    for c in cell.artifact.comparisons:
        d = c.difference
        yield (
            *(cell.name, cell.artifact.runtime, c.input, sizes_text(c.sizes), c.output),
            *(figure(d.relative_l2), figure(d.relative_max), limits(c.allowed), cosine(d.cosine)),
            *(d.mismatch or element(d.worst), str(d.non_finite), seconds(run_seconds(cell.artifact, c))),
            "ok" if c.passed else "FAILED",
        )


def _provenance(report: ParityReport, matrix: Matrix) -> Iterator[str]:
    yield from ("## Provenance", "")
    for tag in weights_tags(report):
        yield f"- weights: {_safe(tag.variant)}, digest `{_safe(tag.digest)}`{', synthetic' if tag.synthetic else ''}"
    for described in report.inputs:
        known = facts(described)
        about = ", ".join(f"{name} {value}" for name, value in known.items() if name != "name")
        yield f"- input {_safe(known['name'])}: {_safe(about)}"
    yield f"- written by {TOOL}"
    yield from ("", "The first is the reference.", "")
    yield from table(_RUNTIME_COLUMNS, map(_runtime, computers(report)))
    yield from ("", "Loading and settings by file and runtime:", "")
    for cell in matrix.cells:
        run = f"loaded in {seconds(cell.artifact.load_s)} s, {memory(cell.artifact.peak_bytes)} at most"
        yield f"- {_safe(cell.title)}: {run}; settings in the file: {settings_read(cell.artifact)}"


def _runtime(info: RuntimeInfo) -> tuple[str, ...]:
    settings = ", ".join(f"{name} {value}" for name, value in info.settings.items())
    return (info.name, info.version, info.device, info.arithmetic, settings, ", ".join(info.providers))


def _safe(text: str) -> str:
    """Text that Markdown shows unchanged."""
    return re.sub(r"([\\`*\[\]<|])", r"\\\1", printable(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    lines = [columns, ["---"] * len(columns), *([_safe(text) for text in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
