"""Drawing primitives: colours, text in Pillow's own font, and lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from swift_export.system.text import shown

__all__ = [
    "BRAIN",
    "COVERED",
    "CUT",
    "DIM",
    "FAINT",
    "GRID",
    "INK",
    "MARGIN",
    "MUTED",
    "PAGE",
    "PANEL",
    "WARNING",
    "WIDTH",
    "WINDOWS",
    "Axis",
    "Box",
    "Canvas",
    "Colour",
    "Key",
    "fitted",
    "pieces",
    "safe",
    "text_width",
    "wrapped",
]

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

#: Size of the picture in pixels.
WIDTH, MARGIN = 1500, 32

PAGE, PANEL, FAINT, DIM = (17, 21, 27), (28, 34, 42), (48, 57, 68), (84, 96, 110)
INK, MUTED = (233, 237, 241), (154, 166, 178)
#: After Okabe and Ito, lightened for the dark page. They also differ in lightness, for readers with colour blindness.
GRID, BRAIN, COVERED, CUT = (86, 180, 233), (240, 228, 66), (0, 190, 140), (255, 100, 20)
WARNING = (245, 190, 90)
#: Colours of alternating windows.
WINDOWS = ((86, 180, 233), (40, 108, 158))

#: Factor of oversampling for curves.
_SMOOTH = 4


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


@cache
def _drawable(character: str) -> bool:
    """Whether the font has the character; missing ones are all drawn as the same box."""
    lacking = _font(20).getmask("\U0010fffe")
    return character.isascii() or bytes(_font(20).getmask(character)) != bytes(lacking)


def safe(value: object, limit: int = 400) -> str:
    """The name of a file as one line that the font can draw; other characters appear as escapes."""
    line = shown(value, limit)
    return "".join(c if _drawable(c) else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in line)


def text_width(text: str, size: int) -> float:
    """Width of a text in pixels."""
    return _font(size).getlength(text)


def fitted(text: str, size: int, width: float) -> str:
    """The text, shortened in the middle if too wide, because names differ at both ends."""
    kept = len(text)
    short = text
    while kept > 2 and text_width(short, size) > width:
        kept -= 1
        short = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short


def wrapped(text: str, size: int, width: float, most: int) -> list[str]:
    """The text in at most ``most`` lines, broken between words, or within words wider than a line."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined, size) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if text_width(lines[-1] + character, size) > width:
                lines.append("")
            lines[-1] += character
    if len(lines) > most:
        lines = [*lines[: most - 1], fitted(f"{lines[most - 1]} ...", size, width)]
    return lines


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` along pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int, whole: bool = False) -> list[tuple[float, str]]:
        """At most ``most + 1`` places and labels, at multiples of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        step = max(step, 1.0) if whole else step
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        # Adding 0 removes the sign of a negative zero.
        return [(self.place(number * step), f"{number * step + 0:.8g}") for number in numbers]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a ``frame``, a ``dashed`` one, or a ``filled`` or ``hatched`` box, or a ``line``."""

    kind: str
    colour: Colour
    label: str


class Canvas:
    """An image with methods for drawing."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH, height), PAGE)
        self.draw = ImageDraw.Draw(self.image)

    def write(self, x: float, y: float, text: str, size: int, colour: Colour = INK, anchor: str = "ls") -> None:
        """Write text with its anchor, by default the left end of the baseline, at the position."""
        self.draw.text((round(x), round(y)), text, colour, _font(size), anchor)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: int = 1) -> None:
        """Draw a line between two positions."""
        self.draw.line([*map(round, (*start, *end))], colour, width)

    def dashed(self, box: Box, colour: Colour, dash: int = 6, gap: int = 5) -> None:
        """Draw the dashed edges of a box."""
        left, top, right, bottom = box
        for x in range(left, right + 1, dash + gap):
            for y in (top, bottom):
                self.draw.line([x, y, min(x + dash, right), y], colour)
        for y in range(top, bottom + 1, dash + gap):
            for x in (left, right):
                self.draw.line([x, y, x, min(y + dash, bottom)], colour)

    def hatched(self, box: Box, colour: Colour, ground: Colour, step: int = 7) -> None:
        """Fill a box with slanting lines."""
        left, top, right, bottom = box
        if right < left or bottom < top:
            return
        patch = Image.new("RGB", (right - left + 1, bottom - top + 1), ground)
        draw = ImageDraw.Draw(patch)
        for x in range(-patch.height, patch.width, step):
            draw.line([x, patch.height, x + patch.height, 0], colour)
        self.image.paste(patch, (left, top))

    def curves(
        self, stretches: Sequence[Sequence[tuple[float, float]]], colour: Colour, width: float, within: Box
    ) -> None:
        """Draw smooth lines through the points of each stretch, or a dot for a single point."""
        left, top, right, bottom = within
        mask = Image.new("L", ((right - left + 1) * _SMOOTH, (bottom - top + 1) * _SMOOTH))
        draw = ImageDraw.Draw(mask)
        for points in stretches:
            places = [((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in points]
            if len(places) > 1:
                draw.line(places, 255, round(width * _SMOOTH), joint="curve")
            else:
                draw.circle(places[0], 2.5 * _SMOOTH, 255)
        self.image.paste(colour, (left, top), mask.resize((right - left + 1, bottom - top + 1), Image.Resampling.BOX))

    def legend(self, x: float, y: float, keys: Sequence[Key]) -> None:
        """Draw entries side by side; ``y`` is the baseline of their labels."""
        for key in keys:
            box = (round(x), round(y) - 11, round(x) + 15, round(y) + 1)
            if key.kind == "frame":
                self.draw.rectangle(box, outline=key.colour, width=2)
            elif key.kind == "dashed":
                self.dashed(box, key.colour, 4, 2)
            elif key.kind == "hatched":
                self.hatched(box, key.colour, PANEL)
            elif key.kind == "line":
                self.line((x, y - 5), (x + 15, y - 5), key.colour, 2)
            else:
                self.draw.rectangle(box, key.colour, DIM)
            self.write(x + 24, y, key.label, 14, MUTED)
            x += 24 + text_width(key.label, 14) + 28


def pieces(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The points split into stretches at gaps: at NaN values, and at larger steps than usual."""
    step = min((after[0] - before[0] for before, after in pairwise(points)), default=0.0)
    piece: list[tuple[float, float]] = []
    for x, y in points:
        if piece and (not math.isfinite(y) or x - piece[-1][0] > 1.5 * step):
            yield piece
            piece = []
        if math.isfinite(y):
            piece.append((x, y))
    if piece:
        yield piece
