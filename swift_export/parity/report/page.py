"""A report as parity.html: one self-contained page."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from swift_export.artifacts.manifest import Measurement
from swift_export.models.model import Picture, sizes_text
from swift_export.models.provenance import SYNTHETIC_WARNING
from swift_export.parity.report import figures
from swift_export.parity.report.charts import plot_blocks
from swift_export.parity.report.images import Drawing, draw_difference, draw_input, draw_value
from swift_export.parity.report.matrix import Cell, build_matrix
from swift_export.parity.report.provenance import allowances, computers, facts, settings_read, weights_tags
from swift_export.parity.report.rows import COLUMNS, carried_row
from swift_export.parity.report.verdict import judge
from swift_export.parity.results import ParityReport
from swift_export.system.text import printable

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

__all__ = ["to_html"]


@dataclass(frozen=True)
class Timing:
    """Seconds of one cell's calls at certain sizes, and their percentage of the longest call of the same kind."""

    sizes: str
    first: float
    later: float | None
    first_percent: float = 0.0
    later_percent: float = 0.0


@dataclass(frozen=True)
class Gallery:
    """Slices of one input and one value: the reference's, and every cell's with its difference."""

    picture: Picture
    input_image: Drawing
    expected: Drawing
    cells: tuple[tuple[Cell, Drawing, Drawing], ...]


def to_html(report: ParityReport, carried: Sequence[Measurement] = ()) -> str:
    """The text of parity.html; ``carried`` are still valid measurements of earlier checks.

    The same report gives the same text. The page runs no script and fetches nothing; its policy forbids both.
    """
    matrix = build_matrix(report)
    text = _template().render(
        report=report,
        verdict=judge(report),
        matrix=matrix,
        plot=plot_blocks(matrix.cells),
        timings=_timings(matrix.cells),
        galleries=_galleries(matrix.cells),
        tags=weights_tags(report),
        synthetic_warning=SYNTHETIC_WARNING,
        computers=computers(report),
        allowances=allowances(report),
        inputs=[facts(described) for described in report.inputs],
        tool=figures.TOOL,
        carried_columns=COLUMNS,
        carried=[carried_row(measurement) for measurement in carried],
    )
    # Names may come from untrusted files: besides autoescape, invisible characters are escaped.
    return "\n".join(map(printable, text.split("\n")))


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cosine": figures.cosine,
        "element": figures.element,
        "figure": figures.figure,
        "limits": figures.limits,
        "memory": figures.memory,
        "seconds": figures.seconds,
        "settings_read": settings_read,
        "sizes": sizes_text,
        "unbroken": _unbroken,
    }
    environment.globals["run_seconds"] = figures.run_seconds
    return environment.get_template("page.html.j2")


def _unbroken(text: object) -> Markup:
    """Text without line breaks at the minus of figures."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\b[\d.]+e-\d+\b", r'<span class="figure">\g<0></span>', str(escape(text))))


def _timings(cells: Sequence[Cell]) -> list[tuple[Cell, list[Timing]]]:
    measured = [(cell, _of_sizes(cell)) for cell in cells if cell.artifact.times]
    flat = [timing for _, timings in measured for timing in timings]
    longest_first = max((timing.first for timing in flat), default=0.0)
    longest_later = max((timing.later or 0.0 for timing in flat), default=0.0)
    return [
        (
            cell,
            [
                Timing(t.sizes, t.first, t.later, _percent(t.first, longest_first), _percent(t.later, longest_later))
                for t in timings
            ],
        )
        for cell, timings in measured
    ]


def _of_sizes(cell: Cell) -> list[Timing]:
    """The first call at each choice of sizes, and the median of later ones: warm calls, else those on other inputs."""
    found = []
    for sizes in dict.fromkeys(sizes_text(time.sizes) for time in cell.artifact.times):
        first, *others = [time for time in cell.artifact.times if sizes_text(time.sizes) == sizes]
        warm = [seconds for time in (first, *others) for seconds in time.call_s]
        later = warm or [time.first_s for time in others]
        found.append(Timing(sizes, first.first_s, statistics.median(later) if later else None))
    return found


def _percent(value: float | None, longest: float) -> float:
    return 100 * value / longest if value and longest else 0.0


def _galleries(cells: Sequence[Cell]) -> list[Gallery]:
    """Cells grouped by slice and input, so that shared images are drawn once."""
    together: dict[tuple[Any, ...], list[tuple[Cell, Picture]]] = {}
    for cell in cells:
        if picture := cell.artifact.picture:
            key = (picture.input, picture.value, picture.input_image.tobytes(), picture.expected.tobytes())
            together.setdefault(key, []).append((cell, picture))
    return [
        Gallery(
            picture=shown[0][1],
            input_image=draw_input(shown[0][1]),
            expected=draw_value(shown[0][1], found=False),
            cells=tuple((cell, draw_value(picture, found=True), draw_difference(picture)) for cell, picture in shown),
        )
        for shown in together.values()
    ]
