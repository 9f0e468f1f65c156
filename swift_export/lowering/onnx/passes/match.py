"""What all passes share: looking at producers and constants, and putting a node in another's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.lowering.onnx.builder import SCOPE

__all__ = [
    "axes_of",
    "constant_like",
    "either",
    "integers",
    "made_by",
    "only_use",
    "replace",
    "scalar",
    "sizes",
]

FLOATS = (oir.DataType.FLOAT, oir.DataType.DOUBLE, oir.DataType.FLOAT16, oir.DataType.BFLOAT16)


def made_by(value: oir.Value | None, *op_types: str) -> oir.Node | None:
    """The node behind a value, if it is of one of these types."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def inputs(node: oir.Node) -> list[oir.Value]:
    """Inputs that are there."""
    return [v for v in node.inputs if v is not None]


def either(node: oir.Node) -> list[tuple[oir.Value, oir.Value]]:
    """Both orders of a commutative node's two operands."""
    a, b = inputs(node)
    return [(a, b), (b, a)]


def array(value: oir.Value | None) -> np.ndarray | None:
    """The elements of a constant."""
    constant = value.const_value if value is not None else None
    return None if constant is None else np.asarray(constant.numpy())


def scalar(value: oir.Value | None) -> float | None:
    """The one number of a float constant with one element."""
    if value is None or value.dtype not in FLOATS or value.shape is None or len(value.shape) > 0:
        return None
    elements = array(value)
    return None if elements is None else float(elements)


def integers(value: oir.Value | None) -> list[int] | None:
    """The numbers of a constant int64 vector."""
    elements = array(value)
    if elements is None or elements.dtype != np.int64:
        return None
    return [int(v) for v in elements.reshape(-1)]


def sizes(value: oir.Value) -> list[int | str]:
    """The shape: numbers, and unknown sizes by their name. Every value of a lowered graph has one."""
    assert value.shape is not None
    return [d if isinstance(d, int) else str(d.value) for d in value.shape]


def axes_of(node: oir.Node) -> list[int] | None:
    """Constant axes of a reduction, as numbers from 0."""
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else sorted(a % len(sizes(inputs(node)[0])) for a in axes)


def attribute(node: oir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def only_use(value: oir.Value) -> oir.Node | None:
    """The one node that uses a value, if it is used once and no output."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def constant_like(graph: oir.Graph, elements: np.ndarray) -> oir.Value:
    """A constant of the graph with these elements; an equal small one is used again."""
    for value in graph.initializers.values():
        if value.dtype == oir.DataType.from_numpy(elements.dtype) and sizes(value) == list(elements.shape):
            found = array(value) if elements.size <= 64 else None
            if found is not None and found.tobytes() == elements.tobytes():
                return value
    number = len(graph.initializers)
    while f"constant_{number}" in graph.initializers:
        number += 1
    value = oir.val(f"constant_{number}", oir.DataType.from_numpy(elements.dtype), elements.shape)
    value.const_value = oir.tensor(elements, name=value.name)
    graph.register_initializer(value)
    return value


def new_value(
    graph: oir.Graph,
    before: oir.Node,
    op_type: str,
    operands: Sequence[oir.Value],
    shape: Sequence[int | str],
    attributes: dict[str, Any] | None = None,
    *,
    dtype: oir.DataType | None = None,
) -> oir.Value:
    """A new node in front of ``before``, in its scope; gives the node's output."""
    output = oir.val(None, dtype or operands[0].dtype, list(shape))
    node = oir.node(op_type, list(operands), attributes, outputs=[output], metadata_props=dict(before.metadata_props))
    graph.insert_before(before, node)
    return output


def replace(graph: oir.Graph, old: oir.Value, new: oir.Value) -> None:
    """Let ``new`` take the place of ``old`` everywhere, as an output of the graph too; ``old`` becomes dead code."""
    if old.is_graph_output():
        name, old.name = old.name, None
        new.name = name
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def scope(node: oir.Node) -> str:
    """The scope that a node was made in."""
    return node.metadata_props.get(SCOPE, "")
