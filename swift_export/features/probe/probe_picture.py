"""Draws what a probe predicts for held-out participants, and its scores."""

from __future__ import annotations

import numpy as np
from PIL import Image

from swift_export.features.probe.fitting import Fitted
from swift_export.features.probe.samples import Samples
from swift_export.features.probe.scores import NAMES, chance, predicted_classes
from swift_export.scans.picture.canvas import (
    BRAIN,
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
    Box,
    Canvas,
    Key,
    fitted,
    safe,
    text_width,
)
from swift_export.system.text import plural

__all__ = ["draw_probe"]

_SIDE, _TOP, _HEIGHT = 520, 150, 760
_LEFT = MARGIN + 92
#: Classes with a row and a column of their own in a confusion matrix.
_MOST_CLASSES = 12


def draw_probe(samples: Samples, found: Fitted) -> Image.Image:
    """Draw ROC curves, a confusion matrix, or predicted against true values, and each score in every fold.

    The same samples and probe give the same pixels.
    """
    canvas = Canvas(_HEIGHT)
    room = WIDTH - 2 * MARGIN
    name = safe(samples.target, 80)
    canvas.write(MARGIN, 52, fitted(f"Probe of {name}", 27, room), 27)
    groups = ", ".join(f"{size} {safe(label, 40)}" for label, size in samples.sizes.items())
    about = f"{samples.kind}, {plural(len(samples.targets), 'participant')}{f' ({groups})' if groups else ''}"
    about += "" if found.p_value is None else f", p = {found.p_value:.3g} by permutation"
    canvas.write(MARGIN, 84, fitted(about, 17, room), 17, MUTED)
    box = (_LEFT, _TOP, _LEFT + _SIDE, _TOP + _SIDE)
    canvas.draw.rectangle(box, PANEL)
    if samples.kind == "regression":
        _scatter(canvas, box, samples, found)
    elif len(samples.classes) == 2:
        _curves(canvas, box, samples, found)
    else:
        _confusion(canvas, box, samples, found)
    _scores(canvas, (_LEFT + _SIDE + 290, _TOP, WIDTH - MARGIN - 90, _TOP + _SIDE), samples, found)
    return canvas.image


def _curves(canvas: Canvas, box: Box, samples: Samples, found: Fitted) -> None:
    from sklearn.metrics import roc_curve

    left, top, right, bottom = box
    across, up = Axis(0, 1, left, right), Axis(0, 1, bottom, top)
    _title(
        canvas, box, "ROC, HELD-OUT PARTICIPANTS", "false positives", f"true positives: {safe(samples.classes[1], 30)}"
    )
    _grid(canvas, box, across, up)
    canvas.line((left, bottom), (right, top), DIM)
    for rows in (*found.parts, np.arange(len(samples.targets))):
        together = len(rows) == len(samples.targets)
        wrong, right_ones, _ = roc_curve(samples.targets[rows], found.outputs[rows, 0], drop_intermediate=False)
        points = [(across.place(x), up.place(y)) for x, y in zip(wrong, right_ones, strict=True)]
        canvas.curves([points], INK if together else GRID, 2.6 if together else 1.2, box)
    keys = [Key("line", GRID, "each fold"), Key("line", INK, "all folds"), Key("line", DIM, "chance")]
    canvas.legend(left, bottom + 74, keys)


def _scatter(canvas: Canvas, box: Box, samples: Samples, found: Fitted) -> None:
    left, top, right, bottom = box
    truth, predicted = samples.targets, found.outputs[:, 0]
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    margin = 0.06 * (high - low)
    across, up = (
        Axis(low - margin, high + margin, *ends) for ends in ((float(left), float(right)), (float(bottom), float(top)))
    )
    _title(canvas, box, "HELD-OUT PARTICIPANTS", f"true {safe(samples.target, 40)}", "predicted")
    _grid(canvas, box, across, up)
    canvas.line((left, bottom), (right, top), DIM)
    canvas.curves([[(across.place(x), up.place(y))] for x, y in zip(truth, predicted, strict=True)], GRID, 1, box)
    canvas.legend(left, bottom + 74, [Key("line", DIM, "predicted = true")])


def _confusion(canvas: Canvas, box: Box, samples: Samples, found: Fitted) -> None:
    left, top, right, bottom = box
    shown = min(len(samples.classes), _MOST_CLASSES)
    predicted = predicted_classes(found.outputs)
    more = "" if shown == len(samples.classes) else f", {shown} OF {len(samples.classes)} CLASSES"
    _title(canvas, box, f"HELD-OUT PARTICIPANTS{more}", "predicted", "true")
    edges_x, edges_y = (
        np.linspace(start, end, shown + 1).round().astype(int) for start, end in ((left, right), (top, bottom))
    )
    for row in range(shown):
        mine = samples.targets == row
        for column in range(shown):
            count = int((mine & (predicted == column)).sum())
            share = count / max(int(mine.sum()), 1)
            colour = tuple(round(a + share * (b - a)) for a, b in zip(PANEL, GRID, strict=True))
            cell = (edges_x[column] + 1, edges_y[row] + 1, edges_x[column + 1] - 1, edges_y[row + 1] - 1)
            canvas.draw.rectangle(cell, colour)
            centre = ((cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2)
            canvas.write(*centre, str(count), 17, PAGE if share > 0.5 else INK, "mm")
        label = safe(samples.classes[row], 40)
        canvas.write(left - 8, (edges_y[row] + edges_y[row + 1]) / 2, fitted(label, 14, 84), 14, MUTED, "rm")
        canvas.write(
            (edges_x[row] + edges_x[row + 1]) / 2, bottom + 20, fitted(label, 14, _SIDE / shown - 4), 14, MUTED, "ms"
        )


def _scores(canvas: Canvas, box: Box, samples: Samples, found: Fitted) -> None:
    """Draw each score on an axis of its own: folds as dots, the mean as a bar, chance as a mark."""
    left, top, right, _ = box
    canvas.write(left - 230, top - 20, "SCORES IN EACH FOLD", 15)
    without = chance(samples)
    for number, (name, score) in enumerate(found.scores.items()):
        y = top + 50 + 120 * number
        values = [*score.folds, without[name]]
        bounded = name not in ("r2", "mae")
        low, high = (min(0.0, *values), 1.0) if bounded else (min(values), max(values))
        margin = 0.0 if bounded and low == 0 else 0.08 * (high - low or 1.0)
        across = Axis(low - margin, high + (0 if bounded else margin), left, right)
        canvas.draw.rectangle((left, y - 22, right, y + 22), PANEL)
        for x, label in across.ticks(5):
            canvas.line((x, y - 22), (x, y + 22), FAINT)
            canvas.write(x, y + 40, label, 12, MUTED, "ms")
        mark = across.place(without[name])
        canvas.line((mark, y - 22), (mark, y + 22), CUT, 2)
        mean = across.place(score.mean)
        canvas.line((mean, y - 16), (mean, y + 16), BRAIN, 3)
        canvas.curves(
            [[(across.place(value), y)] for value in score.folds], INK, 1, (left - 4, y - 22, right + 4, y + 22)
        )
        canvas.write(left - 230, y - 2, NAMES[name], 17)
        canvas.write(left - 230, y + 20, f"{score.mean:.3f} ± {score.deviation:.3f}", 14, MUTED)
    keys = [Key("line", BRAIN, "mean"), Key("line", CUT, "without embeddings"), Key("line", INK, "a fold")]
    canvas.legend(left - 230, top + 50 + 120 * len(found.scores), keys)


def _title(canvas: Canvas, box: Box, title: str, across: str, up: str) -> None:
    left, top, right, bottom = box
    canvas.write(left - 60, top - 20, title, 15)
    canvas.write((left + right) / 2 - text_width(across, 14) / 2, bottom + 46, across, 14, MUTED)
    canvas.write(right - text_width(up, 14), top - 20, up, 14, MUTED)


def _grid(canvas: Canvas, box: Box, across: Axis, up: Axis) -> None:
    left, top, right, bottom = box
    for x, label in across.ticks(5):
        canvas.line((x, top), (x, bottom), FAINT)
        canvas.write(x, bottom + 20, label, 12, MUTED, "ms")
    for y, label in up.ticks(5):
        canvas.line((left, y), (right, y), FAINT)
        canvas.write(left - 8, y, label, 12, MUTED, "rm")
