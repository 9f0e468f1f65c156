"""Makes nodes in front of one, with the few ops that most need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import constant_like, flattened, new_value, sizes

__all__ = ["Maker"]


class Maker:
    """Makes nodes in front of one."""

    def __init__(self, graph: oir.Graph, before: oir.Node):
        self.graph, self.before = graph, before

    def made(
        self,
        op_type: str,
        operands: Sequence[oir.Value],
        shape: Sequence[int | str],
        dtype: oir.DataType | None = None,
        **settings: Any,
    ) -> oir.Value:
        """The result of a node, of the type of its first operand."""
        return new_value(self.graph, self.before, op_type, operands, shape, settings, dtype=dtype)

    def reshaped(self, value: oir.Value, shape: Sequence[int | str]) -> oir.Value:
        """A value in another shape, with at most one unknown size."""
        if sizes(value) == list(shape):
            return value
        target = [size if isinstance(size, int) else -1 for size in shape]
        return self.made("Reshape", [value, self.int64(target)], shape)

    def length(self, shape: Sequence[int | str]) -> int | str:
        """The number of elements of a value of this shape, with at most one unknown size."""
        whole = flattened(shape)
        assert whole is not None
        return whole

    def row(self, value: oir.Value) -> oir.Value:
        """The elements of a value as one row."""
        return self.reshaped(value, [1, self.length(sizes(value))])

    def split(self, value: oir.Value) -> list[oir.Value]:
        """The parts of a value along its first axis, which has a known size, each with a first axis of 1."""
        number, *shape = sizes(value)
        if number == 1:
            return [value]
        outputs = [oir.val(None, value.dtype, [1, *shape]) for _ in range(int(number))]
        settings = {"axis": 0, "num_outputs": int(number)}
        properties = dict(self.before.metadata_props)
        node = oir.node("Split", [value], settings, outputs=outputs, metadata_props=properties)
        self.graph.insert_before(self.before, node)
        return outputs

    def filled(self, number: float | np.generic, like: oir.Value) -> oir.Value:
        """A number of the type of another value."""
        assert like.dtype is not None
        return constant_like(self.graph, np.asarray(number, like.dtype.numpy()))

    def int32(self, numbers: Any) -> oir.Value:
        """A constant of integers."""
        return constant_like(self.graph, np.asarray(numbers, np.int32))

    def int64(self, numbers: Any) -> oir.Value:
        """A constant of sizes, axes and the like."""
        return constant_like(self.graph, np.asarray(numbers, np.int64))

    def elements(self, vector: oir.Value, places: oir.Value) -> oir.Value:
        """The elements of a vector at these places."""
        # Ten times as fast as Gather.
        return self.made("GatherElements", [vector, places], sizes(places), axis=0)
