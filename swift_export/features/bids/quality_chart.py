"""Motion against the norm of embeddings, laid out as a scatter plot. The template only draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from swift_export.features.bids.group_table import ScanRow
from swift_export.scans.picture.canvas import Axis

__all__ = ["Dot", "Scatter", "rank_correlation", "scatter_of"]

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 16, 52
#: Outliers with their names in the drawing.
_NAMED, _NAME_WIDTH = 6, 120


@dataclass(frozen=True)
class Dot:
    """One scan; ``text`` is shown on it, ``name`` beside it if it is one of the strongest outliers."""

    x: float
    y: float
    text: str
    outlier: bool
    name: str
    anchor: str


@dataclass(frozen=True)
class Scatter:
    """The drawing, in its own units; ticks are positions and labels."""

    dots: tuple[Dot, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    correlation: float | None
    missing: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def scatter_of(rows: Sequence[ScanRow], outliers: Sequence[str]) -> Scatter | None:
    """The drawing of scans whose motion is known; None if there are none.

    ``outliers`` are names of scans, the strongest outlier first.
    """
    drawn = [(row, row.fd_mean, float(np.linalg.norm(row.mean))) for row in rows if row.fd_mean is not None]
    if not drawn:
        return None
    motion, norms = np.array([fd for _, fd, _ in drawn]), np.array([norm for _, _, norm in drawn])
    across = Axis(0.0, float(motion.max()) * 1.05 or 1.0, LEFT, WIDTH - RIGHT)
    margin = max(0.06 * float(np.ptp(norms)), 1e-3 * float(norms.max()), 1e-9)
    up = Axis(float(norms.min()) - margin, float(norms.max()) + margin, HEIGHT - BOTTOM, TOP)
    places = {row.name: (across.place(fd), up.place(norm)) for row, fd, norm in drawn}
    named = _named([(name, places[name]) for name in outliers if name in places])
    dots = [
        Dot(
            *places[row.name],
            text=f"{row.name}: {fd:.3g} mm, norm {norm:.4g}",
            outlier=row.name in outliers,
            name=_short(row) if row.name in named else "",
            anchor="end" if places[row.name][0] > WIDTH / 2 else "start",
        )
        for row, fd, norm in drawn
    ]
    # Outliers last: nothing covers them.
    dots.sort(key=lambda dot: dot.outlier)
    correlation = rank_correlation(motion, norms)
    ticks = tuple(across.ticks(8)), tuple(up.ticks(6))
    return Scatter(tuple(dots), *ticks, correlation, len(rows) - len(drawn))


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float | None:
    """Spearman's correlation; None if one of both does not vary, or for fewer than three values."""
    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: np.ndarray = last - (counts - 1) / 2
    found: np.ndarray = means[inverse]
    return found


def _named(outliers: Sequence[tuple[str, tuple[float, float]]]) -> set[str]:
    """The outliers whose names are drawn: the strongest, as far as names do not cover each other."""
    chosen: dict[str, tuple[float, float]] = {}
    for name, (x, y) in outliers:
        if len(chosen) < _NAMED and all(abs(y - b) > 15 or abs(x - a) > 2 * _NAME_WIDTH for a, b in chosen.values()):
            chosen[name] = (x, y)
    return set(chosen)


def _short(row: ScanRow) -> str:
    """What distinguishes a scan in its table."""
    return " ".join(value for key, value in row.entities.items() if key not in ("task", "space", "cohort", "res"))
