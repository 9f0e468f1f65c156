"""Two ways to a result in one file: a fast one, and an exact one for operands that the fast one gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import constant_like, sizes
from swift_export.converter.passes.nested import ROOT, root

__all__ = ["Branch", "fast_or_exact"]

DataType = oir.DataType


class Branch:
    """Collects the nodes of a branch that gives the result of ``node``, in its scope."""

    def __init__(self, node: oir.Node, name: str) -> None:
        assert isinstance(node.graph, oir.Graph)
        self.body = oir.Graph([], [], nodes=[], name=name)
        self.body.meta[ROOT] = root(node.graph)
        self.node = node
        self.shape = sizes(node.outputs[0])

    def make(
        self, op_type: str, operands: Sequence[oir.Value], dtype: DataType, shape: list[int | str], **attributes: Any
    ) -> oir.Value:
        """The result of a new node."""
        output = oir.val(None, dtype, shape)
        properties = dict(self.node.metadata_props)
        self.body.append(oir.node(op_type, operands, attributes, outputs=[output], metadata_props=properties))
        return output

    def again(self, value: oir.Value) -> oir.Value:
        """The node's own op on another first operand."""
        output, operands = self.node.outputs[0], [v for v in self.node.inputs[1:] if v is not None]
        dtype = value.dtype if output.dtype == self.node.inputs[0].dtype else output.dtype  # type: ignore[union-attr]
        assert dtype is not None
        return self.make(self.node.op_type, [value, *operands], dtype, self.shape, **self.node.attributes)

    def number(self, value: float, dtype: DataType) -> oir.Value:
        """A constant of one element."""
        return constant_like(self.body, np.asarray(value, dtype.numpy()))

    def cast(self, value: oir.Value, dtype: DataType) -> oir.Value:
        """Elements in another type."""
        return self.make("Cast", [value], dtype, sizes(value), to=dtype.value) if value.dtype != dtype else value

    def truth(self, op_type: str, *operands: oir.Value) -> oir.Value:
        """A comparison or test."""
        return self.make(op_type, operands, DataType.BOOL, sizes(operands[0]))

    def where(self, condition: oir.Value, a: oir.Value, b: oir.Value) -> oir.Value:
        """A choice, with the shape of its condition."""
        assert b.dtype is not None
        return self.make("Where", [condition, a, b], b.dtype, sizes(condition))

    def with_signs(self, found: oir.Value, positive: oir.Value) -> oir.Value:
        """The same numbers, with 0 where ``positive`` and -0 elsewhere in place of zeros of either sign."""
        assert found.dtype is not None
        zero = self.number(0.0, found.dtype)
        signed = self.where(positive, zero, self.number(-0.0, found.dtype))
        # ONNX Runtime's Where returns 0 for a -0 in its second input; for a Not, it would exchange the inputs.
        false = constant_like(self.body, np.asarray(False))
        return self.where(self.truth("Equal", self.truth("Equal", found, zero), false), found, signed)

    def returning(self, value: oir.Value) -> oir.Graph:
        """The finished body."""
        self.body.outputs.append(value)
        return self.body


def fast_or_exact(condition: oir.Value, fast: oir.Graph, exact: oir.Graph, before: oir.Node) -> oir.Value:
    """The result of one of two bodies; it takes the place of that of ``before``."""
    old = before.outputs[0]
    result = oir.val(None, old.dtype, old.shape)
    branches = {"then_branch": fast, "else_branch": exact}
    node = oir.node("If", [condition], branches, outputs=[result], metadata_props=dict(before.metadata_props))
    assert isinstance(before.graph, oir.Graph)
    before.graph.insert_before(before, node)
    return result
