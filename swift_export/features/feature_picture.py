"""The picture of a scan's features: the scan as the model sees it, the embedding of every window, their similarity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from swift_export.features.output_kinds import OutputKind, as_kind
from swift_export.features.pipeline import ScanFeatures
from swift_export.scans.picture import draw_scan
from swift_export.scans.picture.canvas import (
    MARGIN,
    MUTED,
    PAGE,
    PANEL,
    WIDTH,
    Axis,
    Box,
    Canvas,
    Colour,
    fitted,
    safe,
)
from swift_export.scans.scan import Scan
from swift_export.system.text import plural

__all__ = ["draw_features"]

#: Negative and positive values of an embedding, and similarities from low to high.
_LOW, _HIGH = (86, 180, 233), (255, 150, 40)
_SIMILAR = ((28, 34, 42), (0, 120, 110), (240, 228, 66))
_TALL, _HEAD, _FOOT, _KEY = 420, 64, 44, 160


def draw_features(found: ScanFeatures, kind: OutputKind) -> Image.Image:
    """Draw a scan and its features; the scan must still be open. The same features give the same pixels."""
    charts = Canvas(_TALL + _HEAD + _FOOT)
    vectors = _vectors(found.values, kind)
    name = "embedding" if kind in ("features", "tokens") else kind
    square = WIDTH - MARGIN - 1 - _TALL
    _draw_heat(charts, (MARGIN + 74, _HEAD, square - 110, _HEAD + _TALL - 1), vectors, name)
    _draw_similarity(charts, (square, _HEAD, square + _TALL - 1, _HEAD + _TALL - 1), vectors)
    above = draw_scan(found.source) if isinstance(found.source, Scan) else _title(found.source.name)
    whole = Image.new("RGB", (WIDTH, above.height + charts.image.height), PAGE)
    whole.paste(above, (0, 0))
    whole.paste(charts.image, (0, above.height))
    return whole


def _vectors(values: Float32[np.ndarray, "windows ..."], kind: OutputKind) -> Float32[np.ndarray, "windows n"]:
    """One vector per window: the mean over tokens of features or tokens."""
    if kind == "features":
        return as_kind(values, "features", "embedding")
    vectors: np.ndarray = values.mean(axis=1) if kind == "tokens" else values.reshape(len(values), -1)
    return vectors


def _title(name: str) -> Image.Image:
    canvas = Canvas(72)
    canvas.write(MARGIN, 52, fitted(safe(name), 27, WIDTH - 2 * MARGIN), 27)
    return canvas.image


def _draw_heat(canvas: Canvas, box: Box, vectors: Float32[np.ndarray, "windows n"], name: str) -> None:
    left, top, right, bottom = box
    windows, size = vectors.shape
    limit = float(np.percentile(np.abs(vectors), 99.5)) or 1.0
    canvas.write(MARGIN, top - 40, f"{name.upper()} OF EACH WINDOW", 15)
    canvas.write(right, top - 40, f"{plural(size, 'value')}, colours from {-limit:.3g} to {limit:.3g}", 14, MUTED, "rs")
    shares = np.clip(vectors / limit, -1, 1)[..., None]
    ends = np.where(shares < 0, np.array(_LOW), np.array(_HIGH))
    _paste(canvas, box, np.abs(shares) * ends + (1 - np.abs(shares)) * np.array(PANEL))
    _numbers(canvas, Axis(0, windows, top, bottom + 1), left, windows)
    across = Axis(0, size, left, right + 1)
    for x, label in across.ticks(8, whole=True):
        if x <= right:
            canvas.line((x, bottom + 1), (x, bottom + 5), MUTED)
            canvas.write(x, bottom + 18, label, 12, MUTED, "ms")
    canvas.write(MARGIN, bottom + 18, "value", 12, MUTED)


def _numbers(canvas: Canvas, down: Axis, left: int, windows: int) -> None:
    """Write numbers of windows beside their rows, as many as there is room for."""
    canvas.write(left - 12, down.start - 8, "window", 12, MUTED, "rs")
    step = max(1, -(-windows // 20))
    for window in range(0, windows, step):
        canvas.write(left - 12, down.place(window + 0.5), str(window + 1), 12, MUTED, "rm")


def _draw_similarity(canvas: Canvas, box: Box, vectors: Float32[np.ndarray, "windows n"]) -> None:
    left, top, right, bottom = box
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = vectors / np.where(norms > 0, norms, 1)
    cosine = units @ units.T
    low = float(cosine.min())
    canvas.write(left, top - 40, "SIMILARITY OF WINDOWS", 15)
    canvas.write(right, top - 40, f"cosine, from {low:.6g} to 1", 14, MUTED, "rs")
    shares = (cosine - low) / max(1 - low, 1e-12)
    _paste(canvas, box, _mapped(np.clip(shares, 0, 1)))
    _numbers(canvas, Axis(0, len(vectors), top, bottom + 1), left, len(vectors))
    for pixel in range(_KEY):
        red, green, blue = map(int, _mapped(np.array([[pixel / (_KEY - 1)]]))[0, 0])
        colour: Colour = (red, green, blue)
        canvas.line((right - _KEY + pixel, bottom + 12), (right - _KEY + pixel, bottom + 20), colour)
    canvas.write(right - _KEY - 8, bottom + 20, f"{low:.6g}", 12, MUTED, "rs")
    canvas.write(right + 4, bottom + 20, "1", 12, MUTED)


def _mapped(shares: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    points = np.linspace(0, 1, len(_SIMILAR))
    return np.stack([np.interp(shares, points, [colour[i] for colour in _SIMILAR]) for i in range(3)], axis=-1)


def _paste(canvas: Canvas, box: Box, colours: Float[np.ndarray, "h w 3"]) -> None:
    """Fill a box with cells: exact pixels where they are larger, averages where they are smaller."""
    left, top, right, bottom = box
    cells: UInt8[np.ndarray, "h w 3"] = colours.round().astype(np.uint8)
    image = Image.fromarray(cells)
    width, height = right - left + 1, bottom - top + 1
    rows = Image.Resampling.NEAREST if image.height <= height else Image.Resampling.BOX
    columns = Image.Resampling.NEAREST if image.width <= width else Image.Resampling.BOX
    canvas.image.paste(image.resize((image.width, height), rows).resize((width, height), columns), (left, top))
