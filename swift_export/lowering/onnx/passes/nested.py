"""Nodes in the bodies of Loop and If."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

__all__ = ["all_nodes", "bodies", "with_bodies"]


def bodies(node: oir.Node) -> list[oir.Graph]:
    """The bodies of a node, in the order of its attributes."""
    kinds = (oir.AttributeType.GRAPH,)
    return [attribute.as_graph() for attribute in node.attributes.values() if attribute.type in kinds]


def with_bodies(node: oir.Node) -> Iterator[oir.Node]:
    """A node, then all nodes in its bodies."""
    yield node
    for body in bodies(node):
        yield from all_nodes(body)


def all_nodes(graph: oir.Graph) -> Iterator[oir.Node]:
    """The nodes of a graph, each followed by those in its bodies."""
    for node in graph:
        yield from with_bodies(node)
