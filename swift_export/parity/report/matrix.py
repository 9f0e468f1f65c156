"""A report as a matrix with files as rows and runtimes as columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from swift_export.parity.report.figures import figure, margin, names, share, worst
from swift_export.parity.results import Checked, Comparison, ParityReport
from swift_export.runtimes.base import RuntimeInfo

__all__ = ["Cell", "Column", "Matrix", "Shade", "build_matrix"]

#: Classes of errors by their ratio to the limit.
Shade = Literal["far", "below", "near", "failed"]

#: The largest ratio of error to limit of each shade.
_SHADES: tuple[tuple[float, Shade], ...] = ((1 / 10, "far"), (1 / 3, "below"), (1.0, "near"))


@dataclass(frozen=True)
class Column:
    """One runtime, on one device, with one arithmetic."""

    name: str
    version: str
    device: str
    arithmetic: str


@dataclass(frozen=True)
class Cell:
    """One file in one runtime. ``lines`` describe its worst comparison, ``anchor`` is an id for links to it."""

    anchor: str
    name: str
    artifact: Checked
    shade: Shade
    lines: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all comparisons and settings passed."""
        return self.artifact.passed

    @property
    def title(self) -> str:
        """The file and its runtime."""
        return f"{self.name} in {self.artifact.runtime}"


@dataclass(frozen=True)
class Matrix:
    """``rows`` has, by the name of a file, the cells in each column: no, one or several runs.

    ``cells`` are the same cells in the order of the report.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]
    cells: tuple[Cell, ...]


def build_matrix(report: ParityReport) -> Matrix:
    """The matrix of a report, rows and columns in the order of their first appearance."""
    named = zip(names(report), report.artifacts, strict=True)
    cells = tuple(_cell(f"cell-{number}", name, artifact) for number, (name, artifact) in enumerate(named, 1))
    columns = tuple(dict.fromkeys(_column(cell.artifact.info) for cell in cells))
    rows = tuple(
        (name, tuple(_at(cells, name, column) for column in columns))
        for name in dict.fromkeys(cell.name for cell in cells)
    )
    return Matrix(columns, rows, cells)


def _at(cells: Iterable[Cell], name: str, column: Column) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if cell.name == name and _column(cell.artifact.info) == column)


def _column(info: RuntimeInfo) -> Column:
    return Column(info.name, info.version, info.device, info.arithmetic)


def _cell(anchor: str, name: str, artifact: Checked) -> Cell:
    furthest = worst(artifact.comparisons)
    value = share(furthest.difference, furthest.allowed) if furthest else 0.0
    near: list[Shade] = [shade for limit, shade in _SHADES if artifact.passed and value <= limit]
    return Cell(anchor, name, artifact, near[0] if near else "failed", tuple(_lines(artifact, furthest)))


def _lines(artifact: Checked, furthest: Comparison | None) -> Iterator[str]:
    if furthest is None:
        yield "no output compared"
    elif math.isfinite(value := share(furthest.difference, furthest.allowed)):
        differences = [comparison.difference for comparison in artifact.comparisons]
        yield f"L2 {figure(max(d.relative_l2 for d in differences))}"
        yield f"largest {figure(max(d.relative_max for d in differences))}"
        yield margin(value)
    else:
        yield str(furthest.difference)
    if wrong := len(artifact.wrong_settings):
        yield f"{wrong} wrong setting{'s' if wrong > 1 else ''}"
