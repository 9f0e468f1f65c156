"""Puts nodes in a canonical order and gives each output a separate node."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from swift_export.converter.passes.nested import with_bodies

__all__ = ["order_nodes", "separate_outputs"]


def order_nodes(graph: oir.Graph) -> None:
    """Order nodes depth first from the outputs; the order depends only on the graph."""
    ordered: list[oir.Node] = []
    seen: set[oir.Node] = set()
    for output in graph.outputs:
        waiting = [(output.producer(), False)]
        while waiting:
            node, ready = waiting.pop()
            if node is None or (node in seen and not ready):
                continue
            if ready:
                ordered.append(node)
                continue
            seen.add(node)
            waiting.append((node, True))
            waiting += [(v.producer(), False) for v in reversed(_read(graph, node))]
    graph.remove(ordered)
    graph.extend(ordered)


def _read(graph: oir.Graph, node: oir.Node) -> list[oir.Value]:
    """The values of its graph that a node reads, also in its bodies."""
    return [v for inner in with_bodies(node) for v in inner.inputs if v is not None and v.graph is graph]


def separate_outputs(graph: oir.Graph, names: Sequence[str | None]) -> None:
    """Give outputs that became one value separate nodes again."""
    for i, (value, name) in enumerate(zip(list(graph.outputs), names, strict=True)):
        if value.name == name:
            continue
        copy = oir.val(name, value.dtype, value.shape)
        producer = value.producer()
        properties = dict(producer.metadata_props) if producer is not None else None
        graph.append(oir.node("Identity", [value], outputs=[copy], metadata_props=properties))
        graph.outputs[i] = copy
