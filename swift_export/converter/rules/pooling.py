"""Pooling in windows that ONNX's own ops know: the largest or smallest float, and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size, shape_size
from swift_export.converter.rules.spacing import Axis
from swift_export.converter.size_functions import least

__all__ = ["pooled_extremes", "pooled_sums"]

DataType = oir.DataType

#: Pools (batch, channels, ...) in windows over the last axes to a shape; the attributes say how they move.
Pool = Callable[[oir.Value, Shape, dict[str, Any]], oir.Value]


def pooled_extremes(b: Builder, kind: str, value: oir.Value, axes: Sequence[Axis], shape: Shape) -> oir.Value | None:
    """The extremes of windows of float32 or float64, if MaxPool supports such windows; else None.

    MaxPool is used as it is: ``passes.pools`` makes it keep NaN, infinities and the signs of zeros.
    """

    def pool(channels: oir.Value, result: Shape, attributes: dict[str, Any]) -> oir.Value:
        assert channels.dtype is not None
        return b.node("MaxPool", [channels], channels.dtype, result, **attributes)

    if kind == "maximum":
        return _over_channels(b, value, axes, shape, pool)
    found = _over_channels(b, b.same_type("Neg", value), axes, shape, pool)
    return None if found is None else b.same_type("Neg", found)


def pooled_sums(b: Builder, value: oir.Value, axes: Sequence[Axis], shape: Shape) -> oir.Value | None:
    """The sums of windows of float32 as a convolution with ones, if it supports such windows; else None.

    ``passes.pools`` makes averages of sums that are divided by their number of elements.
    """

    def pool(channels: oir.Value, result: Shape, attributes: dict[str, Any]) -> oir.Value:
        count = b.shape(channels)[1]
        assert isinstance(count, int)
        ones = b.constant(np.ones((count, 1, *attributes["kernel_shape"]), np.float32))
        return b.node("Conv", [channels, ones], DataType.FLOAT, result, group=count, **attributes)

    # Conv fails where no window fits.
    fits = all(least(size, b.facts.floors) > 0 for size, axis in zip(shape, axes, strict=True) if axis != Axis())
    return _over_channels(b, value, axes, shape, pool) if fits and value.dtype == DataType.FLOAT else None


def _over_channels(b: Builder, value: oir.Value, axes: Sequence[Axis], shape: Shape, pool: Pool) -> oir.Value | None:
    """Pool over the axes along which the window moves, put last; two others are batch and channels, more are merged."""
    moving = [place for place, axis in enumerate(axes) if axis != Axis()]
    windows = [axes[place] for place in moving]
    if not 1 <= len(moving) <= 3 or 0 in b.shape(value) or all(axis.size == 1 for axis in windows):
        return None
    edges = _edges(windows, [b.shape(value)[p] for p in moving])
    if edges is None:
        return None
    others = [place for place in range(len(axes)) if place not in moving]
    order = [*others, *moving]
    value = b.transpose(value, order)
    spatial = b.shape(value)[len(others) :]
    value = b.reshape(value, (*_batch_and_channels(b.shape(value)[: len(others)]), *spatial))
    attributes = {
        "kernel_shape": [axis.size for axis in windows],
        "strides": [axis.stride for axis in windows],
        "dilations": [axis.window_dilation for axis in windows],
    }
    found = pool(value, (*b.shape(value)[:2], *(shape[place] for place in moving)), attributes | edges)
    found = b.reshape(found, tuple(shape[place] for place in order))
    return b.transpose(found, [order.index(place) for place in range(len(axes))])


def _batch_and_channels(sizes: Shape) -> Shape:
    """The last of several sizes, if it is known, is that of channels, and the others merge; sizes of 1 do not count."""
    kept = [size for size in sizes if size != 1]
    channels = kept.pop() if kept and isinstance(kept[-1], int) else 1
    return shape_size(kept), channels


def _edges(axes: Sequence[Axis], lengths: Sequence[Size]) -> dict[str, Any] | None:
    """The attributes for the padding; None if ONNX's ops do not support such windows.

    They need no holes between elements, and at least one element in every window.
    """
    pads = [*(axis.low for axis in axes), *(axis.high for axis in axes)]
    if not all(isinstance(width, int) for width in pads):
        same = all(axis.is_same(length) for axis, length in zip(axes, lengths, strict=True))
        return {"auto_pad": "SAME_UPPER"} if same else None
    reaches = [axis.size for axis in axes] * 2
    fits = all(isinstance(w, int) and 0 <= w < size for w, size in zip(pads, reaches, strict=True))
    return {"pads": pads} if fits and all(axis.base_dilation == 1 for axis in axes) else None
