"""The error after every block, laid out as curves on a logarithmic axis. The template only draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from swift_export.parity.measure.compare import Difference
from swift_export.parity.report.figures import figure
from swift_export.parity.report.matrix import Cell

__all__ = ["Curve", "Line", "Plot", "Point", "Tick", "plot_blocks"]

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 74, 44, 22, 58

#: Markers and dashes repeat with different periods, so that fifteen curves differ in print.
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ("", "6 3", "2 3")
COLOURS = 6


@dataclass(frozen=True)
class Point:
    """One block's error; ``first_wrong`` marks the place of the fault."""

    x: float
    y: float
    block: str
    text: str
    first_wrong: bool


@dataclass(frozen=True)
class Curve:
    """One cell's errors by block. ``key`` is drawn at its end, at ``key_y``, and in the legend."""

    key: str
    title: str
    anchor: str
    colour: int
    marker: str
    dash: str
    points: tuple[Point, ...]
    key_y: float

    @property
    def path(self) -> str:
        """The points as an SVG path."""
        return "M" + " L".join(f"{point.x:.1f} {point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class Tick:
    """A position on an axis and its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A limit."""

    y: float
    text: str


@dataclass(frozen=True)
class Plot:
    """The complete drawing, in its own units."""

    blocks: tuple[str, ...]
    curves: tuple[Curve, ...]
    tolerances: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    groups: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Scale:
    """Decades from ``low`` to ``high``; a row below for errors of 0, one above for errors that are not finite."""

    low: int
    high: int
    with_zero: bool
    with_infinite: bool

    @property
    def rows(self) -> int:
        return self.high - self.low + self.with_zero + self.with_infinite

    def place(self, value: float) -> float:
        """The position of a value."""
        if value == 0:
            level = 0.0
        elif math.isfinite(value):
            level = math.log10(value) - self.low + self.with_zero
        else:
            level = float(self.rows)
        return HEIGHT - BOTTOM - level / self.rows * (HEIGHT - BOTTOM - TOP)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        decades = [Tick(self.place(10.0**power), f"1e{power:+03d}") for power in range(self.low, self.high + 1)]
        zero = [Tick(self.place(0.0), "equal")] if self.with_zero else []
        return (*zero, *decades, *([Tick(self.place(math.inf), "not finite")] if self.with_infinite else []))


def plot_blocks(cells: Sequence[Cell]) -> Plot | None:
    """The curves of the cells with measured blocks; None if there are none."""
    measured = [cell for cell in cells if cell.artifact.blocks]
    blocks = tuple(dict.fromkeys(entry.block for cell in measured for entry in cell.artifact.blocks))
    if not blocks:
        return None
    allowed = sorted({c.allowed.relative_l2 for cell in measured for c in cell.artifact.comparisons})
    scale = _scale([_error(entry.difference) for cell in measured for entry in cell.artifact.blocks], allowed)
    step = (WIDTH - LEFT - RIGHT) / len(blocks)
    across = {block: LEFT + (number + 0.5) * step for number, block in enumerate(blocks)}
    points = [_points(cell, across, scale) for cell in measured]
    keys = _apart([line[-1].y for line in points])
    curves = tuple(
        Curve(
            key=str(number + 1),
            title=cell.title,
            anchor=cell.anchor,
            colour=number % COLOURS,
            marker=MARKERS[number % len(MARKERS)],
            dash=DASHES[number % len(DASHES)],
            points=line,
            key_y=key_y,
        )
        for number, (cell, line, key_y) in enumerate(zip(measured, points, keys, strict=True))
    )
    tolerances = tuple(Line(scale.place(limit), f"allowed for the outputs: {limit:.2g}") for limit in allowed)
    ticks = tuple(Tick(x, block.rpartition("/")[2].removeprefix("block")) for block, x in across.items())
    return Plot(blocks, curves, tolerances, ticks, _groups(across), scale.ticks)


def _points(cell: Cell, across: dict[str, float], scale: _Scale) -> tuple[Point, ...]:
    fault = cell.artifact.fault
    return tuple(
        Point(
            x=across[entry.block],
            y=scale.place(_error(entry.difference)),
            block=entry.block,
            text=figure(error) if math.isfinite(error := _error(entry.difference)) else str(entry.difference),
            first_wrong=fault is not None and fault.block == entry.block,
        )
        for entry in cell.artifact.blocks
    )


def _error(difference: Difference) -> float:
    comparable = not difference.mismatch and not difference.non_finite
    return difference.relative_l2 if comparable else math.inf


def _scale(errors: Sequence[float], allowed: Sequence[float]) -> _Scale:
    drawn = [value for value in (*errors, *allowed) if value > 0 and math.isfinite(value)] or [1e-7, 1e-5]
    low, high = math.floor(math.log10(min(drawn))), math.ceil(math.log10(max(drawn)))
    return _Scale(low, max(high, low + 1), 0 in errors, math.inf in errors)


def _groups(across: dict[str, float]) -> tuple[Tick, ...]:
    """The common name of consecutive blocks, below their middle."""
    found = []
    for name, members in groupby(across.items(), key=lambda entry: entry[0].rpartition("/")[0]):
        places = [x for _, x in members]
        found.append(Tick((places[0] + places[-1]) / 2, name))
    return tuple(found)


def _apart(places: Sequence[float], gap: float = 15) -> list[float]:
    """The positions, moved as little as possible to be ``gap`` apart and inside the drawing."""
    order = sorted(range(len(places)), key=lambda number: (places[number], number))
    # After subtracting rank times gap, positions must only be non-decreasing: this is isotonic regression.
    stretches: list[tuple[float, int]] = []
    for rank, number in enumerate(order):
        mean, size = places[number] - gap * rank, 1
        while stretches and stretches[-1][0] > mean:
            before, members = stretches.pop()
            mean, size = (mean * size + before * members) / (size + members), size + members
        stretches.append((mean, size))
    level = [mean for mean, size in stretches for _ in range(size)]
    lowest = HEIGHT - BOTTOM - gap * (len(places) - 1)
    moved = {number: max(TOP, min(level[rank], lowest)) + gap * rank for rank, number in enumerate(order)}
    return [moved[number] for number in range(len(places))]
