"""Three slices of the mean volume through the centre of the model's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from swift_export.scans.grid import VOXEL_SIZE
from swift_export.scans.picture.anatomy import Anatomy, Ranges, ranges
from swift_export.scans.picture.canvas import (
    BRAIN,
    COVERED,
    CUT,
    GRID,
    INK,
    MARGIN,
    MUTED,
    PANEL,
    WIDTH,
    Box,
    Canvas,
    Key,
    fitted,
    text_width,
)
from swift_export.system.text import plural

__all__ = ["Panel", "draw_slices", "grey_levels", "lay_out"]

#: Margin around a slice for the letters of its directions; gap between panels; largest height of a slice.
_PADDING, _GAP, _TALLEST = 24, 16, 560
_HEAD, _LEGEND = 34, 66
#: The darkest grey of a brain: background is black.
_DARKEST = 44

#: Name of the plane across each axis.
_PLANES = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "I": "axial", "S": "axial"}
_OPPOSITE = dict(zip("LRAPIS", "RLPASI", strict=True))
#: For each slice: the axis across it, the axis to the right and the axis up.
_VIEWS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))


@dataclass(frozen=True)
class Panel:
    """The position of a slice in the picture.

    Attributes:
        normal: the axis across it.
        across: the axis to the right.
        up: the axis upwards.
        box: pixels of the panel.
        union: the shown range of each axis, in indices on the model's grid.
        place: the pixel of its lower left corner.
        scale: pixels per voxel.

    """

    normal: int
    across: int
    up: int
    box: Box
    union: Ranges
    place: tuple[int, int]
    scale: float

    def point(self, across: float, up: float) -> tuple[int, int]:
        """The pixel of a position on the model's grid; voxel i extends from i to i + 1."""
        x, y = self.place
        (left, _), (low, _) = self.union[self.across], self.union[self.up]
        return round(x + (across - left) * self.scale), round(y - (up - low) * self.scale)

    @property
    def shown(self) -> Box:
        """The pixels of the edges of the area drawn to scale."""
        return self.rectangle(self.union)

    def rectangle(self, voxels: Ranges) -> Box:
        """The pixels of the edges of a box of voxels."""
        (left, right), (low, high) = voxels[self.across], voxels[self.up]
        x0, y1 = self.point(left, low)
        x1, y0 = self.point(right, high)
        return x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)


def lay_out(anatomy: Anatomy) -> tuple[Panel, ...]:
    """Three panels side by side, at the same scale, for the scan's grid and the model's."""
    union = ranges((min(0, start), max(n, stop)) for n, (start, stop) in zip(anatomy.size, anatomy.scan, strict=True))
    extent = [stop - start for start, stop in union]
    room = WIDTH - 2 * MARGIN - 2 * _GAP - 6 * _PADDING
    wanted = sum(extent[across] for _, across, _ in _VIEWS)
    tallest = max(extent[up] for _, _, up in _VIEWS)
    scale = min(room / wanted, _TALLEST / tallest)
    # Use whole pixels per voxel if possible, so that all voxels have the same size.
    scale = float(int(scale)) if scale >= 1 else scale
    spare = (room - wanted * scale) / 3
    height = round(tallest * scale) + 2 * _PADDING
    panels, left = [], float(MARGIN)
    for normal, across, up in _VIEWS:
        width = extent[across] * scale + 2 * _PADDING + spare
        box = (round(left), _HEAD, round(left + width) - 1, _HEAD + height - 1)
        place = (round(left + _PADDING + spare / 2), _HEAD + round((height + extent[up] * scale) / 2))
        panels.append(Panel(normal, across, up, box, union, place, scale))
        left += width + _GAP
    return tuple(panels)


def draw_slices(anatomy: Anatomy, codes: str, point: Sequence[float] | None) -> Image.Image:
    """Draw the slices with titles and a legend.

    ``codes`` are the directions of rising indices. ``point`` is the point at the centre of the grid, in mm.
    """
    panels = lay_out(anatomy)
    canvas = Canvas(panels[0].box[3] + _LEGEND)
    grey = grey_levels(anatomy)
    for panel in panels:
        _draw(canvas, panel, anatomy, grey, codes, point)
    _legend(canvas, anatomy, panels[0].box[3] + 26)
    return canvas.image


def _draw(
    canvas: Canvas,
    panel: Panel,
    anatomy: Anatomy,
    grey: UInt8[np.ndarray, "x y z"],
    codes: str,
    point: Sequence[float] | None,
) -> None:
    """Draw one slice with its title and surroundings."""
    left, top, right, _ = panel.box
    number = _slice(anatomy, panel.normal)
    code = codes[panel.normal]
    detail = f"{'xyz'[panel.normal]} {number + anatomy.front[panel.normal]}"
    if point is not None:
        way = 1 if code in "RAS" else -1
        off = number + anatomy.front[panel.normal] - anatomy.size[panel.normal] // 2
        detail += f" at {point[panel.normal] + way * VOXEL_SIZE * off + 0:g} mm"
    title = fitted(_PLANES[code].upper(), 15, right - left)
    canvas.write(left, top - 11, title, 15)
    after = left + text_width(title, 15) + 12
    if after + text_width(detail, 15) <= right:
        canvas.write(after, top - 11, detail, 15, MUTED)
    canvas.draw.rectangle(panel.box, PANEL)
    canvas.draw.rectangle(panel.rectangle(anatomy.scan), (0, 0, 0))
    _paste_voxels(canvas, panel, anatomy, grey, number)
    if anatomy.covered != anatomy.scan:
        canvas.dashed(panel.rectangle(anatomy.covered), COVERED)
    _grid(canvas, panel, anatomy)
    _letters(canvas, panel, codes)


def _letters(canvas: Canvas, panel: Panel, codes: str) -> None:
    """Write the anatomical directions at the edges."""
    left, top, right, bottom = panel.shown
    away = _PADDING / 2
    for x, y, code in (
        (left - away, (top + bottom) / 2, _OPPOSITE[codes[panel.across]]),
        (right + away, (top + bottom) / 2, codes[panel.across]),
        ((left + right) / 2, top - away, codes[panel.up]),
        ((left + right) / 2, bottom + away, _OPPOSITE[codes[panel.up]]),
    ):
        canvas.write(x, y, code, 17, INK, "mm")


def _slice(anatomy: Anatomy, axis: int) -> int:
    """The slice through the grid's centre, or the nearest one with brain, as an index of the volume."""
    others = tuple(other for other in range(3) if other != axis)
    centre = anatomy.size[axis] // 2 - anatomy.front[axis]
    found = np.flatnonzero(anatomy.inside.any(axis=others))
    if not found.size:
        return int(np.clip(centre, 0, anatomy.volume.shape[axis] - 1))
    return int(found[np.argmin(np.abs(found - centre))])


def grey_levels(anatomy: Anatomy) -> UInt8[np.ndarray, "x y z"]:
    """Convert to grey levels; the few darkest and brightest voxels are clipped."""
    brain = anatomy.volume[anatomy.inside]
    grey = np.zeros(anatomy.volume.shape, np.uint8)
    if brain.size:
        low, high = np.percentile(brain, (1, 99.5))
        level = (brain - low) / (high - low) if high > low else np.full(brain.shape, 0.5)
        grey[anatomy.inside] = np.rint(_DARKEST + (250 - _DARKEST) * np.clip(level, 0, 1))
    return grey


def _paste_voxels(
    canvas: Canvas, panel: Panel, anatomy: Anatomy, grey: UInt8[np.ndarray, "x y z"], number: int
) -> None:
    """The slice in grey with the outline of the brain, and the cropped voxels of this and other slices."""
    across, up = anatomy.front[panel.across], anatomy.front[panel.up]
    columns, rows = anatomy.volume.shape[panel.across], anatomy.volume.shape[panel.up]
    (x0, y1), (x1, y0) = panel.point(across, up), panel.point(across + columns, up + rows)

    def pixels(plane: UInt8[np.ndarray, "columns rows"]) -> Image.Image:
        # The first axis points to the right, the second upwards.
        upright = Image.fromarray(np.ascontiguousarray(np.flipud(plane.T)))
        return upright.resize((max(x1 - x0, 1), max(y1 - y0, 1)), Image.Resampling.NEAREST)

    inside = anatomy.inside.take(number, panel.normal)
    canvas.image.paste(pixels(grey.take(number, panel.normal)), (x0, y0))
    outline = _edges(np.asarray(pixels(_white(inside))) > 0)
    canvas.image.paste(BRAIN, (x0, y0), Image.fromarray(_white(outline)))
    if anatomy.cut:
        # Every cropped voxel is beside the kept part along some axis, so two of the three views show it.
        lost = np.asarray(anatomy.inside.any(axis=panel.normal))
        (left, right), (low, high) = anatomy.kept[panel.across], anatomy.kept[panel.up]
        lost[left - across : right - across, low - up : high - up] = False
        canvas.image.paste(CUT, (x0, y0), pixels(_white(lost)))


def _edges(inside: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """The pixels of an area that touch its outside."""
    framed = np.pad(inside, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.asarray(inside & ~inner)


def _white(where: Bool[np.ndarray, "a b"]) -> UInt8[np.ndarray, "a b"]:
    """A mask for Pillow: white inside, black outside."""
    return np.where(where, np.uint8(255), np.uint8(0))


def _grid(canvas: Canvas, panel: Panel, anatomy: Anatomy) -> None:
    """Draw the model's grid, with ticks at its centre voxel."""
    left, top, right, bottom = panel.rectangle(ranges((0, n) for n in anatomy.size))
    canvas.draw.rectangle((left, top, right, bottom), outline=GRID, width=2)
    x, y = panel.point(anatomy.size[panel.across] // 2 + 0.5, anatomy.size[panel.up] // 2 + 0.5)
    reach = min(14, (right - left) // 4, (bottom - top) // 4)
    for start, end in (
        ((x, top), (x, top + reach)),
        ((x, bottom), (x, bottom - reach)),
        ((left, y), (left + reach, y)),
        ((right, y), (right - reach, y)),
    ):
        canvas.line(start, end, GRID, 2)


def _legend(canvas: Canvas, anatomy: Anatomy, y: int) -> None:
    size = " x ".join(map(str, anatomy.size))
    keys = [Key("frame", GRID, f"the model's grid, {size}, ticks at its centre voxel")]
    if anatomy.covered != anatomy.scan:
        keys.append(Key("dashed", COVERED, "extent of the training arrays"))
    keys += [Key("frame", BRAIN, "the brain"), Key("filled", (0, 0, 0), "the scan")]
    if anatomy.cut:
        keys.append(Key("filled", CUT, f"{plural(anatomy.cut, 'voxel')} cropped, in these or other slices"))
    canvas.legend(MARGIN, y, keys)
