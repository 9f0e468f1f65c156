"""reduce_window with computed sizes: windows in padding of unknown width, and cumulative ops along an unknown axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.calls import CALL_ATTRIBUTES
from swift_export.converter.rules.monoids import Combine, Monoid, combination, monoids
from swift_export.converter.rules.reduce_window import reduced
from swift_export.converter.rules.spacing import Axis

__all__: list[str] = []

BOOL, INT64 = oir.DataType.BOOL, oir.DataType.INT64


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
    scan = _Scan(place, backwards)
    if single is None:
        return combination(frame, op, region)(initial, scan.run(frame, values, lambda f: combination(f, op, region)))
    pairs = zip(single, values, initial, strict=True)
    return [_accumulated(frame, monoid, value, start, scan) for monoid, value, start in pairs]


def _accumulated(frame: Frame, monoid: Monoid, value: oir.Value, start: oir.Value, scan: _Scan) -> oir.Value:
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
        total = b.cast(scan.run(frame, [wide], combine)[0], monoid.dtype)
    return total if monoid.is_neutral(start) else monoid.apply(b, start, total)


@dataclass(frozen=True)
class _Scan:
    """The combinations of all elements up to each position along an axis, or of all from it on.

    A Loop doubles the number of combined elements in each step: x[i] becomes x[i - n] with x[i] for n = 1, 2, 4, ...
    """

    axis: int
    backwards: bool

    def run(self, frame: Frame, values: Sequence[oir.Value], combination: Any) -> list[oir.Value]:
        """The scan of a group of values; ``combination`` gives the function of the groups in a frame."""
        b = frame.builder
        shape, types = b.shape(values[0]), [value.dtype for value in values]
        length = b.sizes([shape[self.axis]])
        inner = frame.nested()
        body = inner.builder
        counter, going = body.parameter(INT64, ()), body.parameter(BOOL, ())
        step, *states = body.parameter(INT64, (1,)), *(body.parameter(dtype, shape) for dtype in types if dtype)
        moved, rest = body.fresh_symbol(), body.fresh_symbol()
        zero, ahead = body.integers([0]), body.same_type("Sub", length, step)

        def part(value: oir.Value, start: oir.Value, end: oir.Value, size: Any) -> oir.Value:
            sizes = tuple(size if axis == self.axis else s for axis, s in enumerate(shape))
            where = [body.integers([self.axis]), body.integers([1])]
            assert value.dtype is not None
            return body.node("Slice", [value, start, end, *where], value.dtype, sizes)

        left = [part(value, zero, ahead, moved) for value in states]
        right = [part(value, step, length, moved) for value in states]
        found = combination(inner)(left, right)
        results = []
        for value, state in zip(found, states, strict=True):
            edge = part(state, ahead, length, rest) if self.backwards else part(state, zero, step, rest)
            assert state.dtype is not None
            ends = [value, edge] if self.backwards else [edge, value]
            results.append(body.node("Concat", ends, state.dtype, shape, axis=self.axis))
        doubled = body.same_type("Mul", step, body.integers([2]))
        more = _scalar(body, body.truth("Less", doubled, length))
        graph = body.body([counter, going, step, *states], [more, doubled, *results], "body")
        one = b.integers([1])
        outputs = b.node_outputs(
            "Loop",
            [None, _scalar(b, b.truth("Less", one, length)), one, *values],
            [(INT64, (1,)), *((dtype, shape) for dtype in types if dtype)],
            body=graph,
        )
        return outputs[1:]


def _scalar(b: Builder, value: oir.Value) -> oir.Value:
    return b.reshape(value, ())
