"""Slices as small PNG images in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from swift_export.models.model import Picture

__all__ = ["Drawing", "draw_difference", "draw_input", "draw_value"]

Slice = Float[np.ndarray, "h w"]
Pixels = UInt8[np.ndarray, "h w 3"]

#: The colour of values that are not finite, outside every scale.
_NOT_FINITE = np.array([214, 0, 147], np.uint8)

#: Too low, equal, too high. Lightness rises monotonically, so the scale is readable in print without colour.
_DIVERGING = np.array([[0, 32, 92], [124, 123, 120], [255, 226, 90]], np.float64)


@dataclass(frozen=True)
class Drawing:
    """An image as a data URI, the values at the ends of its scale, and the number of values that are not finite."""

    uri: str
    width: int
    height: int
    low: float
    high: float
    not_finite: int


def draw_input(picture: Picture) -> Drawing:
    """The input in greys, from its smallest value to its largest."""
    return _grey(picture.input_image, *_ends(picture.input_image))


def draw_value(picture: Picture, found: bool) -> Drawing:
    """The block's result of artifact or reference, in greys from the reference's smallest to its largest value."""
    return _grey(picture.found if found else picture.expected, *_ends(picture.expected))


def draw_difference(picture: Picture) -> Drawing:
    """The artifact's result minus the reference's, on a separate scale with equality in the middle."""
    difference = picture.found.astype(np.float64) - picture.expected.astype(np.float64)
    finite = np.abs(difference[np.isfinite(difference)])
    reach = float(finite.max(initial=0))
    scaled = _scaled(difference, -reach, reach)
    channels = [np.interp(scaled, [0, 0.5, 1], _DIVERGING[:, channel]) for channel in range(3)]
    return _drawing(np.rint(np.stack(channels, axis=-1)).astype(np.uint8), difference, -reach, reach)


def _grey(values: Slice, low: float, high: float) -> Drawing:
    level = np.rint(_scaled(values, low, high) * 255).astype(np.uint8)
    return _drawing(np.repeat(level[..., None], 3, axis=-1), values, low, high)


def _ends(values: Slice) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _scaled(values: Slice, low: float, high: float) -> Float[np.ndarray, "h w"]:
    """Values from 0 to 1; the middle if the scale has no length."""
    if not high > low:
        return np.full(values.shape, 0.5)
    known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.clip((known - low) / (high - low), 0, 1)


def _drawing(pixels: Pixels, values: Slice, low: float, high: float) -> Drawing:
    from PIL import Image

    finite = np.isfinite(values)
    pixels = np.where(finite[..., None], pixels, _NOT_FINITE)
    # The usual orientation of brains: the first axis to the right, the second upwards.
    upright = np.ascontiguousarray(np.flipud(pixels.transpose(1, 0, 2)))
    grey = (upright[..., 0] == upright[..., 1]).all() and (upright[..., 1] == upright[..., 2]).all()
    image = Image.fromarray(upright[..., 0] if grey else upright)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Drawing(uri, image.width, image.height, low, high, int((~finite).sum()))
