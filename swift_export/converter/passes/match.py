"""Tools of all passes: inspecting producers and constants, and replacing nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import NAMED, SCOPE, UNNAMED
from swift_export.converter.passes.factors import as_factor, product
from swift_export.converter.passes.nested import root

__all__ = [
    "FLOATS",
    "array",
    "attribute",
    "axes_of",
    "can_replace",
    "constant_like",
    "either",
    "flattened",
    "followed",
    "inputs",
    "integers",
    "is_named",
    "is_swapped",
    "made_by",
    "named_constant",
    "new_value",
    "only_use",
    "permutation",
    "replace",
    "scalar",
    "scope",
    "sizes",
    "swapped",
]

#: The name of an unnamed constant; tf2onnx's graphs append ``@`` and a node's name.
_NUMBERED = re.compile(rf"{UNNAMED}\d+(@.*)?")

FLOATS = (oir.DataType.FLOAT, oir.DataType.DOUBLE, oir.DataType.FLOAT16, oir.DataType.BFLOAT16)


def made_by(value: oir.Value | None, *op_types: str) -> oir.Node | None:
    """The node that produces a value, if it has one of these types."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def inputs(node: oir.Node) -> list[oir.Value]:
    """The inputs that are not omitted."""
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
    """The number in a float constant of one element."""
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
    """The shape: numbers, and unknown sizes by name. Every value of a lowered graph has one."""
    assert value.shape is not None
    return [d if isinstance(d, int) else str(d.value) for d in value.shape]


def flattened(shape: Sequence[int | str]) -> int | str | None:
    """The size of these axes merged; None if an axis is empty or two are unknown."""
    whole = product(map(as_factor, shape))
    return None if whole is None or whole.number == 0 else whole.size


def permutation(node: oir.Node) -> list[int]:
    """The order in which a Transpose takes its operand's axes."""
    return list(node.attributes["perm"].as_ints())


def swapped(rank: int) -> list[int]:
    """The permutation that transposes each matrix of a stack."""
    return [*range(rank - 2), rank - 1, rank - 2]


def is_swapped(value: oir.Value) -> bool:
    """Whether a value is a stack of matrices, each transposed by a node."""
    node, rank = made_by(value, "Transpose"), len(sizes(value))
    return node is not None and rank > 2 and permutation(node) == swapped(rank)


def axes_of(node: oir.Node) -> list[int] | None:
    """Constant axes of a reduction, as numbers from 0."""
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else sorted(a % len(sizes(inputs(node)[0])) for a in axes)


def attribute(node: oir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def only_use(value: oir.Value) -> oir.Node | None:
    """The only user of a value, if it is used once, in its own graph, and is not an output."""
    uses = list(value.uses())
    alone = len(uses) == 1 and uses[0].node.graph is value.graph and not value.is_graph_output()
    return uses[0].node if alone else None


def followed(node: oir.Node, op_type: str, shape: list[int | str]) -> tuple[oir.Node, oir.Value | None]:
    """The commutative op that is the only user of a node's result, with its other operand, if that has exactly this
    shape; else the node itself and None.
    """
    user = only_use(node.outputs[0])
    if user is not None and user.op_type == op_type:
        for result, other in either(user):
            if result is node.outputs[0] and sizes(other) == shape:
                return user, other
    return node, None


def constant_like(graph: oir.Graph, elements: np.ndarray) -> oir.Value:
    """A constant of the graph with these elements; an equal small one is reused."""
    graph = root(graph)
    if elements.size <= 64:
        dtype, shape, content = oir.DataType.from_numpy(elements.dtype), list(elements.shape), elements.tobytes()
        for value in graph.initializers.values():
            if value.dtype == dtype and sizes(value) == shape:
                found = array(value)
                if found is not None and found.tobytes() == content:
                    return value
    number, taken = len(graph.initializers), _taken(graph)
    while f"{UNNAMED}{number}" in taken:
        number += 1
    return named_constant(graph, f"{UNNAMED}{number}", elements)


def _taken(graph: oir.Graph) -> set[str]:
    """The names that stay: nodes' values are named at the end."""
    return {*graph.initializers, *(str(value.name) for value in (*graph.inputs, *graph.outputs))}


def is_named(constant: oir.Value) -> bool:
    """Whether a constant is named, like a checkpoint's tensor and its parts."""
    return NAMED in constant.meta or not _NUMBERED.fullmatch(str(constant.name))


def named_constant(graph: oir.Graph, name: str, elements: np.ndarray) -> oir.Value:
    """A constant of the graph with this name; a suffix is added if another value has the name already."""
    graph = root(graph)
    there = graph.initializers.get(name)
    if there is not None:
        found, dtype = array(there), oir.DataType.from_numpy(elements.dtype)
        same = found is not None and there.dtype == dtype and sizes(there) == list(elements.shape)
        if same and found is not None and found.tobytes() == elements.tobytes():
            return there
    if name in _taken(graph):
        return named_constant(graph, f"{name}_", elements)
    value = oir.val(name, oir.DataType.from_numpy(elements.dtype), elements.shape)
    value.const_value = oir.tensor(elements, name=name)
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
    domain: str = "",
) -> oir.Value:
    """Insert a new node in front of ``before``, in its scope; return the node's output."""
    output = oir.val(None, dtype or operands[0].dtype, list(shape))
    properties = dict(before.metadata_props)
    node = oir.node(op_type, list(operands), attributes, domain=domain, outputs=[output], metadata_props=properties)
    graph.insert_before(before, node)
    return output


def replace(graph: oir.Graph, old: oir.Value, new: oir.Value) -> None:
    """Replace ``old`` by ``new`` everywhere, also as an output of the graph; ``old`` becomes dead code."""
    if old.is_graph_output():
        name, old.name = old.name, None
        new.name = name
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def can_replace(old: oir.Value, new: oir.Value) -> bool:
    """Whether ``new`` may replace ``old``: a separate node of the graph must produce each output."""
    own = new.producer() is not None and new.graph is old.graph
    return not old.is_graph_output() or (own and not new.is_graph_output())


def scope(node: oir.Node) -> str:
    """The scope in which a node was made."""
    return node.metadata_props.get(SCOPE, "")
