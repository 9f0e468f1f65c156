"""Nodes in the bodies of Loop and If."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

__all__ = ["ROOT", "all_nodes", "bodies", "detach", "graphs", "root", "with_bodies"]

#: The ops of ONNX that have bodies: most nodes have none, which their op tells at once.
_WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Key of a body's ``meta`` that holds the outermost graph.
ROOT = "root"


def bodies(node: oir.Node) -> list[oir.Graph]:
    """The bodies of a node, in the order of its attributes."""
    if node.op_type not in _WITH_BODIES:
        return []
    kinds = (oir.AttributeType.GRAPH,)
    return [attribute.as_graph() for attribute in node.attributes.values() if attribute.type in kinds]


def graphs(graph: oir.Graph) -> list[oir.Graph]:
    """A graph and all bodies in it; sets the graph as the ``root`` of each body."""
    found = [graph, *(body for node in all_nodes(graph) if node.op_type in _WITH_BODIES for body in bodies(node))]
    for body in found[1:]:
        body.meta[ROOT] = graph
    return found


def root(graph: oir.Graph) -> oir.Graph:
    """The outermost graph around a body: it holds all constants and versions."""
    found = graph.meta.get(ROOT, graph)
    assert isinstance(found, oir.Graph)
    return found


def with_bodies(node: oir.Node) -> Iterator[oir.Node]:
    """A node, then all nodes in its bodies."""
    yield node
    for body in bodies(node):
        yield from all_nodes(body)


def detach(node: oir.Node) -> None:
    """Take a node and those in its bodies off the values that they read."""
    for inner in with_bodies(node):
        for i in range(len(inner.inputs)):
            inner.replace_input_with(i, None)


def all_nodes(graph: oir.Graph) -> Iterator[oir.Node]:
    """The nodes of a graph, each followed by those in its bodies."""
    for node in graph:
        yield node
        if node.op_type in _WITH_BODIES:
            for body in bodies(node):
                yield from all_nodes(body)
