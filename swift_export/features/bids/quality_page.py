"""The quality of a cohort as one self-contained page: counts, refusals, outliers, motion, windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from swift_export._version import __version__
from swift_export.features.bids.derivative_files import ENDINGS
from swift_export.features.bids.group_table import ScanRow
from swift_export.features.bids.outliers import FEWEST, LIMIT, robust_scores
from swift_export.features.bids.quality_chart import Scatter, scatter_of
from swift_export.features.bids.scan_table import Vector
from swift_export.system.text import printable

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Refusal", "quality_page"]

#: Mean framewise displacement in mm above which studies often exclude a run (Power et al. 2012).
MUCH_MOTION = 0.5
#: Entries of a list on the page.
_MOST = 200
#: Bars of the number of windows.
_MOST_BARS = 12


@dataclass(frozen=True)
class Refusal:
    """A scan without features, and the reason."""

    scan: str
    reason: str


@dataclass(frozen=True)
class Outlier:
    """A scan far from the others of its table."""

    row: ScanRow
    score: float
    norm: float


@dataclass(frozen=True)
class Bar:
    """How many scans have a number of windows, or one in a range; ``percent`` of the most frequent."""

    windows: str
    scans: int
    percent: float


@dataclass(frozen=True)
class Table:
    """What the page shows of the scans of one table."""

    label: str
    file: str
    scans: int
    participants: int
    windows: tuple[int, float, int]
    motion: float | None
    moving: int
    scored: bool
    outliers: tuple[Outlier, ...]
    scatter: Scatter | None
    bars: tuple[Bar, ...]


def quality_page(rows: Sequence[ScanRow], refusals: Sequence[Refusal] = (), kind: Vector = "embedding") -> str:
    """The text of the page about finished scans and refused ones.

    The same scans give the same text. The page runs no script and fetches nothing; its policy forbids both.
    """
    labels = sorted({row.label for row in rows})
    tables = [_table(label, [row for row in rows if row.label == label], kind) for label in labels]
    reasons: dict[str, list[str]] = {}
    for refusal in refusals:
        reasons.setdefault(refusal.reason, []).append(refusal.scan)
    text = _template().render(
        tool=f"swift-export {__version__}",
        kind=kind,
        scans=len(rows) + len(refusals),
        done=len(rows),
        refused=len(refusals),
        participants=len({row.participant for row in rows}),
        origin=rows[0].origin if rows else None,
        channels=rows[0].mean.size if rows else 0,
        tables=tables,
        outliers=sum(len(table.outliers) for table in tables),
        reasons=sorted(reasons.items(), key=lambda entry: (-len(entry[1]), entry[0])),
        limit=LIMIT,
        fewest=FEWEST,
        much_motion=MUCH_MOTION,
        most=_MOST,
    )
    # Names and reasons may come from untrusted files: besides autoescape, invisible characters are escaped.
    return "\n".join(map(printable, text.lstrip().split("\n")))


def _table(label: str, rows: Sequence[ScanRow], kind: Vector) -> Table:
    scores = robust_scores(np.stack([row.mean for row in rows]))
    found = [
        Outlier(row, score, float(np.linalg.norm(row.mean)))
        for row, score in zip(rows, [] if scores is None else scores.tolist(), strict=scores is not None)
        if score > LIMIT
    ]
    found.sort(key=lambda outlier: -outlier.score)
    counts = [row.windows for row in rows]
    motion = [row.fd_mean for row in rows if row.fd_mean is not None]
    return Table(
        label=label.replace("_", ", ").replace("-", " ") or "all scans",
        file=f"{'_'.join(filter(None, ('group', label, ENDINGS[kind])))}.tsv",
        scans=len(rows),
        participants=len({row.participant for row in rows}),
        windows=(min(counts), median(counts), max(counts)),
        motion=median(motion) if motion else None,
        moving=sum(fd > MUCH_MOTION for fd in motion),
        scored=scores is not None,
        outliers=tuple(found),
        scatter=scatter_of(rows, [outlier.row.name for outlier in found]),
        bars=tuple(_bars(counts)),
    )


def _bars(counts: Sequence[int]) -> list[Bar]:
    width = 1 + (max(counts) - min(counts)) // _MOST_BARS if len(set(counts)) > _MOST_BARS else 1
    grouped = Counter((count - min(counts)) // width for count in counts)
    bars = []
    for number, scans in sorted(grouped.items()):
        first = min(counts) + number * width
        text = str(first) if width == 1 else f"{first} to {first + width - 1}"
        bars.append(Bar(text, scans, 100 * scans / max(grouped.values())))
    return bars


@cache
def _template() -> Template:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        # The look is that of a check's report.
        loader=ChoiceLoader([PackageLoader(__package__), PackageLoader("swift_export.parity.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("quality.html.j2")
