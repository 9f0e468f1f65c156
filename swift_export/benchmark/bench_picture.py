"""Draws a benchmark: a bar for each row, with the spread of its calls, by batch size."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from swift_export.benchmark.bench_rows import Benchmark, Row
from swift_export.benchmark.bench_table import digits, facts, milliseconds
from swift_export.runtimes.registry import Kind, kind_of
from swift_export.scans.picture.canvas import (
    BRAIN,
    COVERED,
    CUT,
    DIM,
    FAINT,
    GRID,
    INK,
    MARGIN,
    MUTED,
    PAGE,
    PANEL,
    WIDTH,
    Axis,
    Canvas,
    Colour,
    Key,
    fitted,
    safe,
    text_width,
)
from swift_export.system.text import plural

__all__ = ["draw_benchmark"]

_COLOURS: dict[Kind, Colour] = {"onnx": GRID, "savedmodel": CUT, "stablehlo": COVERED, "jax": BRAIN}
_TITLES: dict[Kind, str] = {"onnx": "ONNX", "savedmodel": "SavedModel", "stablehlo": "StableHLO", "jax": "jax.export"}
_TOP, _ROW, _BAR, _HEAD, _FOOT = 150, 34, 20, 46, 44
_NAMES, _FIGURES = 480, 250
#: Right ends of the figures behind the bars.
_AT = (84, 166, 244)
#: Rows that are drawn; of more, the first.
_MOST = 200


def draw_benchmark(bench: Benchmark) -> Image.Image:
    """Draw the measured rows; the same figures give the same pixels."""
    rows = bench.measured[:_MOST]
    groups = {items: [row for row in rows if row.contender.items == items] for items in _items(rows)}
    canvas = Canvas(_TOP + sum(_HEAD + _ROW * len(group) + _FOOT for group in groups.values()))
    told, room = facts(bench), WIDTH - 2 * MARGIN
    canvas.write(MARGIN, 52, "Benchmark", 27)
    about = ", ".join(safe(told[name]) for name in ("processor", "card", "input") if name in told)
    canvas.write(MARGIN, 84, fitted(about, 17, room), 17, MUTED)
    kinds = [kind for kind in _COLOURS if any(_kind(row) == kind for row in rows)]
    keys = [Key("filled", _COLOURS[kind], _TITLES[kind]) for kind in kinds]
    canvas.legend(MARGIN, 116, [*keys, Key("line", INK, "half of the calls")])
    top = _TOP
    for items, group in groups.items():
        _draw_group(canvas, bench, top, items, group)
        top += _HEAD + _ROW * len(group) + _FOOT
    return canvas.image


def _items(rows: Sequence[Row]) -> list[int]:
    return list(dict.fromkeys(row.contender.items for row in rows))


def _kind(row: Row) -> Kind:
    return kind_of(row.contender.artifact)


def _draw_group(canvas: Canvas, bench: Benchmark, top: int, items: int, rows: Sequence[Row]) -> None:
    """One batch size: names, bars on an axis from 0, and figures."""
    left, right = MARGIN + _NAMES, WIDTH - MARGIN - _FIGURES
    timings = [row.timing for row in rows if row.timing]
    across = Axis(0.0, 1.05e3 * max(timing.quartiles[1] for timing in timings), left, right)
    title = f"{plural(items, bench.item)} at once".upper()
    canvas.write(MARGIN, top + 20, title, 15)
    start = top + _HEAD
    end = start + _ROW * len(rows)
    canvas.draw.rectangle((left, start - 8, right, end), PANEL)
    for x, label in across.ticks(8):
        canvas.line((x, start - 8), (x, end), FAINT)
        canvas.write(x, end + 18, label, 12, MUTED, "ms")
    for x, head in zip(_AT, ("ms", f"{bench.item}s/s", "ratio"), strict=True):
        canvas.write(right + x, top + 20, head, 13, MUTED, "rs")
    for number, (row, timing) in enumerate(zip(rows, timings, strict=True)):
        y = start + number * _ROW
        low, high = (round(across.place(1e3 * value)) for value in timing.quartiles)
        middle = y + _BAR // 2
        end_of_bar = max(left + 1, round(across.place(1e3 * timing.median)))
        canvas.draw.rectangle((left, y, end_of_bar, y + _BAR), _COLOURS[_kind(row)])
        # With a dark edge, to be seen on bars of every colour.
        for colour, width in ((PAGE, 6), (INK, 2)):
            canvas.line((low, middle), (high, middle), colour, width)
            for x in (low, high):
                canvas.line((x, middle - 5 - width // 3), (x, middle + 5 + width // 3), colour, width)
        _write_name(canvas, row, y + _BAR - 4)
        figures = [milliseconds(timing), digits(row.items_per_s), "" if row.ratio is None else f"{row.ratio:.2f}"]
        for x, figure in zip(_AT, figures, strict=True):
            canvas.write(right + x, y + _BAR - 4, figure, 15, INK if x == _AT[0] else MUTED, "rs")
    bases = [row for row in rows if row.ratio is not None and row.baseline is row.compute and row.timing]
    for row in bases[:1]:
        assert row.timing is not None
        x = across.place(1e3 * row.timing.median)
        for y in range(start - 8, end, 11):
            canvas.line((x, y), (x, min(y + 6, end)), DIM)


def _write_name(canvas: Canvas, row: Row, y: int) -> None:
    """The runtime, and in front of it the artifact, as far as there is room."""
    one = row.contender
    more = [one.device.upper()] if one.device == "gpu" else []
    more += [one.stored] if one.stored != "float32" else []
    runtime = ", ".join([one.runtime.title, *more])
    right = MARGIN + _NAMES - 14
    canvas.write(right, y, runtime, 15, INK, "rs")
    room = _NAMES - 14 - text_width(runtime, 15) - 16
    canvas.write(MARGIN, y, fitted(safe(one.artifact), 15, room), 15, MUTED)
