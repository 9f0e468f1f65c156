"""The combinations of all elements up to each position along an axis, or of all from it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame
from swift_export.converter.rules.monoids import Combine
from swift_export.converter.rules.spacing import Axis

__all__ = ["Running"]

BOOL, INT64 = oir.DataType.BOOL, oir.DataType.INT64


@dataclass(frozen=True)
class Running:
    """The axis, and whether elements are combined from its end on."""

    axis: int
    backwards: bool

    @classmethod
    def of(cls, axes: Sequence[Axis], shape: Shape) -> Running | None:
        """What windows of a movement along each axis combine, if each holds all elements up to or from a position."""
        moving = [place for place, axis in enumerate(axes) if axis != Axis()]
        if len(moving) != 1:
            return None
        (place,) = moving
        axis, length = axes[place], shape[place]
        if not isinstance(length, int) or length > axis.size:
            return None
        backwards = axis == Axis(axis.size, high=axis.size - 1)
        return cls(place, backwards) if backwards or axis == Axis(axis.size, low=axis.size - 1) else None

    def one_by_one(self, b: Builder, values: Sequence[oir.Value], combine: Combine) -> list[oir.Value]:
        """The combinations of a group of values in order, from the beginning of an axis of known length."""
        shape = b.shape(values[0])
        length = shape[self.axis]
        assert isinstance(length, int)
        if length == 1:
            return list(values)
        one = (*shape[: self.axis], 1, *shape[self.axis + 1 :])
        lengths = b.integers([1] * length)
        split = [
            b.node_outputs("Split", [value, lengths], [(value.dtype, one)] * length, axis=self.axis)
            for value in values
            if value.dtype is not None
        ]
        steps = list(zip(*split, strict=True))
        found = [list(steps[0])]
        for step in steps[1:]:
            found.append(combine(found[-1], step))
        columns = zip(*found, strict=True)
        return [
            b.node("Concat", parts, parts[0].dtype, shape, axis=self.axis)
            for parts in columns
            if parts[0].dtype is not None
        ]

    def doubled(self, frame: Frame, values: Sequence[oir.Value], combination: Any) -> list[oir.Value]:
        """The combinations of a group of values; ``combination`` gives the function of the groups in a frame.

        A Loop doubles the number of combined elements in each step: x[i] becomes x[i - n] with x[i] for n = 1, 2, 4 ...
        """
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
