"""Charts of the frames in each window, the brightness of each frame, and the values that the model sees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from swift_export.scans.picture.anatomy import Sample
from swift_export.scans.picture.canvas import (
    CUT,
    DIM,
    FAINT,
    GRID,
    INK,
    MUTED,
    PAGE,
    PANEL,
    WINDOWS,
    Axis,
    Box,
    Canvas,
    Key,
    pieces,
    text_width,
)
from swift_export.scans.scan import Scan
from swift_export.system.text import plural

__all__ = ["Timeline", "draw_histogram", "draw_timeline", "timeline_of"]

#: Largest number of rows for overlapping windows.
_MOST_ROWS = 12
#: Bars narrower than this, in pixels, are merged by ten or by a hundred.
_NARROWEST = 4
_BINS = 120


@dataclass(frozen=True)
class Timeline:
    """The run in frames of the file, from 0 to ``frames``; windows and unused stretches as (start, end).

    ``means`` are positions of frame centres with the mean of the brain, or NaN without a brain. ``seconds`` is the
    repetition time.
    """

    frames: int
    dropped: tuple[int, int]
    windows: tuple[tuple[float, float], ...]
    unused: tuple[tuple[float, float], ...]
    means: tuple[tuple[float, float], ...]
    seconds: float | None

    @property
    def rows(self) -> int:
        """Number of rows for overlapping windows."""
        if len(self.windows) < 2:
            return 1
        (start, end), (following, _) = self.windows[:2]
        return min(math.ceil((end - start) / (following - start) - 1e-9), _MOST_ROWS)


def timeline_of(scan: Scan, sample: Sample) -> Timeline:
    """The timeline of the scan; for a folder of frames, the means are those of the sample."""
    facts, windows = scan.facts, scan.windows
    frames = int(facts["grid"][3])
    first, last = facts["drop_frames"]
    # Windows of a resampled run count its frames, whose total duration is that of the file.
    scale = (frames - first - last) / windows.total
    span = windows.frames * windows.stride
    taken = [(first + start * scale, first + (start + span) * scale) for start in facts["starts"]]
    means = list(enumerate(scan.run.statistics.frame_means)) if scan.run else sample.means
    time = facts.get("repetition_time")
    return Timeline(
        frames,
        (first, last),
        tuple(taken),
        tuple(_between(taken, first, frames - last)),
        tuple((first + frame + 0.5, mean) for frame, mean in means),
        time["seconds"] if time else None,
    )


def _between(taken: Sequence[tuple[float, float]], start: float, end: float) -> Iterator[tuple[float, float]]:
    """The stretches from ``start`` to ``end`` outside all windows."""
    for left, right in (*taken, (end, end)):
        if left - start > 1e-6:
            yield start, left
        start = max(start, right)


def draw_timeline(canvas: Canvas, box: Box, timeline: Timeline, means: str) -> None:
    """Draw means as a line above windows as bars, over the frames of the file and their seconds.

    ``means`` is the label of the means.
    """
    left, top, right, bottom = box
    canvas.write(left, top + 12, "WINDOWS OVER THE RUN", 15)
    x0, x1 = left + 74, right
    rows = timeline.rows
    thick = 24 if rows == 1 else max(6, 60 // rows)
    axis = bottom - (44 if timeline.seconds else 24)
    strip = (x0, axis - rows * thick, x1, axis - 1)
    chart = (x0, top + 54, x1, strip[1] - 9)
    across = Axis(0, timeline.frames, x0, x1 + 1)
    canvas.draw.rectangle(chart, PANEL)
    canvas.draw.rectangle(strip, PANEL)
    _aside(canvas, timeline, across, chart, strip)
    _means(canvas, timeline, across, chart)
    _bars(canvas, timeline, across, strip, thick)
    canvas.write(left, strip[3] - (strip[3] - strip[1]) / 2, "windows", 12, MUTED, "lm")
    _scale(canvas, across, axis, "frames", left)
    if timeline.seconds:
        _scale(canvas, Axis(0, timeline.frames * timeline.seconds, x0, x1 + 1), axis + 20, "seconds", left)
    canvas.legend(left, top + 38, _keys(timeline, means, across))


def _aside(canvas: Canvas, timeline: Timeline, across: Axis, chart: Box, strip: Box) -> None:
    """Draw frames outside all windows: hatched if dropped, plain if left over."""
    first, last = timeline.dropped
    for _, top, _, bottom in (chart, strip):
        for start, end in timeline.unused:
            canvas.draw.rectangle(_span(across, start, end, top, bottom), FAINT)
        for start, end in ((0, first), (timeline.frames - last, timeline.frames)):
            if end > start:
                canvas.hatched(_span(across, start, end, top, bottom), DIM, PAGE)


def _span(across: Axis, start: float, end: float, top: int, bottom: int) -> Box:
    left = round(across.place(start))
    return left, top, max(round(across.place(end)) - 1, left), bottom


def _means(canvas: Canvas, timeline: Timeline, across: Axis, chart: Box) -> None:
    known = [mean for _, mean in timeline.means if math.isfinite(mean)]
    if not known:
        return
    low, high = min(known), max(known)
    margin = max(0.12 * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-30)
    up = Axis(low - margin, high + margin, chart[3], chart[1])
    for y, label in up.ticks(4):
        canvas.line((chart[0], y), (chart[2], y), FAINT)
        canvas.write(chart[0] - 8, y, label, 12, MUTED, "rm")
    stretches = [[(across.place(x), up.place(y)) for x, y in piece] for piece in pieces(timeline.means)]
    canvas.curves(stretches, INK, 1.6, chart)
    for x, mean in timeline.means:
        if not math.isfinite(mean):
            place = across.place(x)
            canvas.line((place, chart[3] - 10), (place, chart[3]), CUT, 2)


def _bars(canvas: Canvas, timeline: Timeline, across: Axis, strip: Box, thick: int) -> None:
    together, rows = _together(timeline, across), timeline.rows
    widest = text_width(str(len(timeline.windows)), 12) + 4
    for number, (start, end) in enumerate(timeline.windows):
        row = number % rows
        top = strip[1] + row * thick
        left, _, right, _ = _span(across, start, end, top, top)
        shade = number // rows // together % 2
        gap = 1 if together == 1 and right > left else 0
        canvas.draw.rectangle((left, top, right - gap, top + thick - 1 - (rows > 1)), WINDOWS[shade])
        if thick >= 14 and right - left >= widest:
            ink = PAGE if shade == 0 else INK
            canvas.write((left + right) / 2, top + (thick - (rows > 1)) / 2, str(number + 1), 12, ink, "mm")


def _together(timeline: Timeline, across: Axis) -> int:
    """Number of windows per shade that keeps the shades distinguishable."""
    start, end = timeline.windows[0]
    width = across.place(end) - across.place(start)
    return next(many for many in (1, 10, 100, 1000, 10_000, 100_000) if width * many >= _NARROWEST)


def _scale(canvas: Canvas, axis: Axis, y: int, unit: str, left: int) -> None:
    canvas.write(left, y + 15, unit, 12, MUTED)
    for x, label in axis.ticks(12, whole=unit == "frames"):
        x = min(x, axis.end - 1)
        canvas.line((x, y), (x, y + 4), MUTED)
        canvas.write(x, y + 16, label, 12, MUTED, "ms")


def _keys(timeline: Timeline, means: str, across: Axis) -> list[Key]:
    count, together = len(timeline.windows), _together(timeline, across)
    shades = f", {together} to a shade" if together > 1 else ""
    keys = [Key("line", INK, means), Key("filled", WINDOWS[0], f"{plural(count, 'window')}{shades}")]
    if any(timeline.dropped):
        ends = [f"{name} {count}" for name, count in zip(("first", "last"), timeline.dropped, strict=True) if count]
        keys.append(Key("hatched", DIM, f"dropped: {', '.join(ends)}"))
    if timeline.unused:
        unused = round(sum(end - start for start, end in timeline.unused))
        keys.append(Key("filled", FAINT, f"unused: {unused:,}"))
    if empty := sum(not math.isfinite(mean) for _, mean in timeline.means):
        keys.append(Key("filled", CUT, f"without a brain: {empty:,}"))
    return keys


def draw_histogram(canvas: Canvas, box: Box, sample: Sample, background: float) -> None:
    """Draw the histogram of z values in the brain, with marks for the mean of the run and the background."""
    left, top, right, bottom = box
    canvas.write(left, top + 12, "VALUES IN THE BRAIN", 15)
    canvas.write(right, top + 12, f"z, of {sample.frames:,} frames", 14, MUTED, "rs")
    axis = bottom - 24
    chart = (left, top + 54, right, axis - 1)
    canvas.draw.rectangle(chart, PANEL)
    low, high = _reach(sample.values, background)
    across = Axis(low, high, left, right + 1)
    counts, edges = np.histogram(sample.values, _BINS, (low, high))
    tall = (chart[3] - chart[1] - 8) / max(int(counts.max()), 1)
    for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            canvas.draw.rectangle(
                _span(across, start, end, min(round(chart[3] + 1 - count * tall), axis - 1), axis - 1), GRID
            )
    _mark(canvas, across, chart, 0.0, "mean 0", top + 48)
    beyond = "" if background >= low else "< "
    _mark(canvas, across, chart, max(background, low), f"{beyond}background {background:.3g}", top + 33)
    _scale(canvas, across, axis, "", left)


def _reach(values: np.ndarray, background: float) -> tuple[float, float]:
    """The range to draw: nearly all values and 0, and the background unless it is far away."""
    some = values[:: 1 + values.size // 1_000_000]
    low, high = np.percentile(some, (0.1, 99.9)).tolist() if some.size else (-1.0, 1.0)
    low, high = min(low, 0.0), max(high, 0.0)
    if low - background < 0.5 * (high - low):
        low = min(low, background)
    margin = max(0.03 * (high - low), 1e-3)
    return low - margin, high + margin


def _mark(canvas: Canvas, across: Axis, chart: Box, value: float, label: str, y: int) -> None:
    x = min(round(across.place(value)), chart[2])
    canvas.line((x, y - 9), (x, chart[3]), INK)
    beside = x + 6 + text_width(label, 13) < chart[2]
    canvas.write(x + 6 if beside else x - 6, y, label, 13, INK, "ls" if beside else "rs")
