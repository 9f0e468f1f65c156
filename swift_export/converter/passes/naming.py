"""Names nodes and values after their scope in the source program."""

from __future__ import annotations

from collections import Counter
from itertools import count

import onnx_ir as oir

from swift_export.converter.builder import SCOPE, UNNAMED
from swift_export.converter.passes.match import FLOATS, is_named, scope
from swift_export.converter.passes.nested import all_nodes, bodies

__all__ = ["check_names", "name_nodes_and_values", "number_constants"]


def name_nodes_and_values(graph: oir.Graph) -> None:
    """Nodes become ``<scope>/<op type>``, values likewise; the last value of a scope carries the scope's own name.

    So the result of ``named_scope("stage0/block1/output")`` is the value ``stage0/block1/output``. Only floating-point
    tensors with axes count, unless a scope makes none: then its last value of any kind is taken.
    Names of inputs, outputs and initializers stay.
    """
    last = {scope(node): node for node in graph} | {scope(node): node for node in graph if _is_map(node)}
    nodes = list(all_nodes(graph))
    parameters = [v for node in nodes for body in bodies(node) for v in body.inputs]
    taken = Counter(v.name for v in (*graph.inputs, *graph.outputs, *graph.initializers.values()) if v.name is not None)
    node_names: Counter[str] = Counter()
    for node in nodes:
        own = scope(node)
        prefix = f"{own}/" if own else ""
        node.name = _unique(f"{prefix}{node.op_type}", node_names)
        for value in node.outputs:
            if value.is_graph_output() and node.graph is graph:
                continue
            result = own and node is last.get(own) and len(node.outputs) == 1
            value.name = _unique(own if result else f"{prefix}{node.op_type}", taken)
        node.metadata_props.pop(SCOPE, None)
    for number, value in enumerate(parameters):
        value.name = _unique(f"body_{number}", taken)


def check_names(graph: oir.Graph) -> None:
    """Assert that every node and every value, in bodies too, has a name of its own."""
    nodes = list(all_nodes(graph))
    named = [*graph.inputs, *graph.initializers.values(), *(v for node in nodes for v in node.outputs)]
    named += [v for node in nodes for body in bodies(node) for v in body.inputs]
    for names in (Counter(value.name for value in named), Counter(node.name for node in nodes)):
        shared = [name for name, count in names.items() if count > 1 or not name]
        assert not shared, f"names of several values or nodes, or of none: {shared}"
    assert all(value.const_value is None or value.const_value.name == value.name for value in named)


def _is_map(node: oir.Node) -> bool:
    """Whether a node makes one floating-point tensor of rank one or more."""
    (value, *others) = node.outputs
    return not others and value.dtype in FLOATS and value.shape is not None and len(value.shape) > 0


def number_constants(graph: oir.Graph) -> None:
    """Name unnamed constants ``constant_0``, ... in the order in which nodes use them.

    So their names depend only on the graph, not on constants that were made and dropped before.
    """
    used = dict.fromkeys(v for node in all_nodes(graph) for v in node.inputs if v is not None)
    anonymous = [v for v in used if v.is_initializer() and not is_named(v)]
    for value in anonymous:
        graph.initializers.pop(str(value.name))
    made = (value for node in all_nodes(graph) for value in node.outputs)
    taken = {value.name for value in (*graph.inputs, *graph.outputs, *graph.initializers.values(), *made)}
    free = (name for name in (f"{UNNAMED}{number}" for number in count()) if name not in taken)
    for name, value in zip(free, anonymous, strict=False):
        value.name = name
        if value.const_value is not None:
            value.const_value.name = value.name
        graph.register_initializer(value)


def _unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    if taken[name] == 1:
        return name
    return _unique(f"{name}_{taken[name] - 1}", taken)
