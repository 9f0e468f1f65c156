"""reduce_window with computed sizes: windows in padding of unknown width, and cumulative ops along an unknown axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.calls import CALL_ATTRIBUTES
from swift_export.converter.rules.monoids import Combine, Monoid, combination, monoids
from swift_export.converter.rules.reduce_window import reduced
from swift_export.converter.rules.running_values import Running
from swift_export.converter.rules.spacing import Axis

__all__: list[str] = []


@rule("@stablehlo.dynamic_reduce_window", attributes=CALL_ATTRIBUTES)
def dynamic_reduce_window(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """reduce_window as JAX writes it for unknown sizes. A window of unknown size has to be cumulative: it holds all
    elements up to a position, or all from a position on.
    """
    *group, sizes, strides, base, window, padding = op.operands
    region = frame.functions[op.attributes["called_computations"][0].value].regions[0]
    lengths, widths = frame.integers(op, sizes, "sizes of the window"), frame.integers(op, padding, "padding")
    strides, base, window = (frame.static(op, frame.integers(op, v, "steps"), "steps") for v in (strides, base, window))
    shape = frame.shape(group[0])
    unknown = [place for place, size in enumerate(lengths) if not isinstance(size, int)]
    axes = [
        Axis(size if isinstance(size, int) else 1, stride, low, high, *dilations)
        for size, stride, low, high, *dilations in zip(
            lengths, strides, widths[::2], widths[1::2], base, window, strict=True
        )
    ]
    if not unknown:
        return reduced(frame, op, group, axes, region)
    place, size = unknown[0], lengths[unknown[0]]
    backwards = axes[place] == Axis(high=size - 1)
    others = [axis for i, axis in enumerate(axes) if i != place]
    is_cumulative = len(unknown) == 1 and size == shape[place] and (backwards or axes[place] == Axis(low=size - 1))
    if not is_cumulative or any(axis != Axis() for axis in others):
        raise frame.error(op, f"a window of {' x '.join(map(str, lengths))}: of unknown sizes only cumulative ones")
    for result in op.results:
        frame.shapes[result] = shape
    count = len(group) // 2
    values, initial = [frame.full(v) for v in group[:count]], [frame.compact(v) for v in group[count:]]
    single = monoids(region, [frame.dtype(v) for v in group[:count]])
    scan = Running(place, backwards)
    if single is None:
        return combination(frame, op, region)(
            initial, scan.doubled(frame, values, lambda f: combination(f, op, region))
        )
    pairs = zip(single, values, initial, strict=True)
    return [_accumulated(frame, monoid, value, start, scan) for monoid, value, start in pairs]


def _accumulated(frame: Frame, monoid: Monoid, value: oir.Value, start: oir.Value, scan: Running) -> oir.Value:
    b = frame.builder
    if monoid.kind == "add":
        kind = b.carrier("CumSum", monoid.wide)
        index = b.constant(np.asarray(scan.axis, np.int64))
        summed = b.node("CumSum", [b.cast(value, kind), index], kind, b.shape(value), reverse=int(scan.backwards))
        total = b.cast(summed, monoid.dtype)
    else:

        def combine(f: Frame) -> Combine:
            return lambda x, y: [monoid.apply(f.builder, x[0], y[0])]

        wide = b.cast(value, monoid.wide)
        total = b.cast(scan.doubled(frame, [wide], combine)[0], monoid.dtype)
    return total if monoid.is_neutral(start) else monoid.apply(b, start, total)
