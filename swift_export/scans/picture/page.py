"""The whole picture: facts about the scan, three slices, the windows of the run and its values."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from swift_export.scans.picture.anatomy import anatomy_of, codes_of, sample_of
from swift_export.scans.picture.canvas import (
    MARGIN,
    MUTED,
    PAGE,
    WARNING,
    WIDTH,
    Canvas,
    fitted,
    safe,
    text_width,
    wrapped,
)
from swift_export.scans.picture.charts import draw_histogram, draw_timeline, timeline_of
from swift_export.scans.picture.slices import draw_slices
from swift_export.scans.scan import Scan
from swift_export.system.text import plural

__all__ = ["draw_scan"]

_TITLE, _VALUE, _LABEL, _SMALL = 27, 17, 12, 14
_MOST_WARNINGS, _MOST_LINES = 10, 3
_CHARTS, _HISTOGRAM = 316, 380


def draw_scan(scan: Scan) -> Image.Image:
    """Draw an open scan: the mean volume on the model's grid, the frames of the windows, and the values of the brain.

    A few windows are computed for it. The same scan gives the same pixels. Slices appear as the model sees them:
    indices rise to the right or upwards, and letters give the anatomical directions.
    """
    sample = sample_of(scan)
    charts = Canvas(_CHARTS)
    between = WIDTH - MARGIN - _HISTOGRAM
    means = "mean of each frame's brain" if scan.run else f"mean z of the brain, of {plural(sample.frames, 'frame')}"
    draw_timeline(charts, (MARGIN, 0, between - 40, _CHARTS - MARGIN), timeline_of(scan, sample), means)
    draw_histogram(charts, (between, 0, WIDTH - MARGIN - 1, _CHARTS - MARGIN), sample, float(scan.facts["background"]))
    slices = draw_slices(anatomy_of(scan, sample), codes_of(scan), scan.facts["point"])
    return _stacked([_head(scan), slices, charts.image])


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), PAGE)
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _head(scan: Scan) -> Image.Image:
    """Draw the name, the facts in columns, and the warnings."""
    room = WIDTH - 2 * MARGIN
    rows = _columns(_facts(scan), room)
    lines = _warnings(scan, room - 18)
    canvas = Canvas(72 + 50 * len(rows) + (20 * len(lines) + 22 if lines else 0) + 6)
    canvas.write(MARGIN, 52, fitted(safe(scan.name), _TITLE, room), _TITLE)
    y = 84
    for row in rows:
        for x, label, value in row:
            canvas.write(x, y, label.upper(), _LABEL, MUTED)
            canvas.write(x, y + 21, value, _VALUE)
        y += 50
    if lines:
        canvas.draw.rectangle((MARGIN, y - 8, MARGIN + 3, y + 20 * len(lines) - 4), WARNING)
    for line in lines:
        canvas.write(MARGIN + 18, y + 7, line, _SMALL, WARNING)
        y += 20
    return canvas.image


def _columns(facts: Sequence[tuple[str, str]], room: float) -> list[list[tuple[float, str, str]]]:
    """Facts side by side, in as many rows as needed: position, label and value of each."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    x = 0.0
    for label, value in facts:
        value = fitted(value, _VALUE, room)
        width = max(text_width(label.upper(), _LABEL), text_width(value, _VALUE))
        if rows[-1] and x + width > room:
            rows.append([])
            x = 0.0
        rows[-1].append((MARGIN + x, label, value))
        x += width + 34
    return rows


def _warnings(scan: Scan, room: float) -> list[str]:
    listed = scan.warnings[:_MOST_WARNINGS]
    lines = [line for text in listed for line in wrapped(safe(text, 600), _SMALL, room, _MOST_LINES)]
    rest = len(scan.warnings) - len(listed)
    return [*lines, f"and {rest} more"] if rest else lines


def _facts(scan: Scan) -> list[tuple[str, str]]:
    facts, windows = scan.facts, scan.windows
    *grid, frames = facts["grid"]
    found = [
        ("placement", _placement(scan)),
        ("orientation", f"as stored, assumed {codes_of(scan)}" if facts["orientation"] == "keep" else codes_of(scan)),
        ("grid", f"{_shape(grid)}, {plural(frames, 'frame')}"),
        ("windows", f"{len(scan):,} x {plural(windows.frames, 'frame')}{_apart(windows.stride)}"),
        ("repetition time", _repetition_time(scan)),
    ]
    if scan.run is not None:
        found += [
            ("mean ± deviation", f"{facts['mean']:.5g} ± {facts['deviation']:.5g}"),
            ("brain", f"{facts['foreground']:.1%} of the values"),
        ]
    found.append(("background", f"z {facts['background']:.4g}"))
    if facts.get("mask"):
        found.append(("mask", safe(facts["mask"], 60)))
    return found


def _placement(scan: Scan) -> str:
    """The name of the placement, with the point at the centre voxel or the paddings of a stored array."""
    name, point = safe(scan.facts["placement"], 60), scan.facts["point"]
    if point is None:
        return f"voxel paddings {name}"
    centre = [n // 2 for n in scan.size]
    index = f"index {centre[0]}" if len(set(centre)) == 1 else f"index ({', '.join(map(str, centre))})"
    known = "" if name[:1] in "+-.0123456789" else f"{name}: "
    return f"{known}{index} at ({', '.join(f'{mm:g}' for mm in point)}) mm"


def _apart(stride: int) -> str:
    return "" if stride == 1 else f", {stride} apart"


def _repetition_time(scan: Scan) -> str:
    time, target = scan.facts.get("repetition_time"), scan.facts.get("resample_tr")
    found = f"{time['seconds']:g} s ({time['source']})" if time else "unknown"
    return found if target is None else f"{found}, resampled to {target:g} s"


def _shape(grid: Sequence[int]) -> str:
    return " x ".join(map(str, grid))
