"""Removes nodes and initializers whose values nothing reads.

(onnx-ir's pass also looks up the schema of every node, for optional outputs: too slow between all other passes.)
"""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.nested import bodies, detach

__all__ = ["remove_unused"]


def remove_unused(graph: oir.Graph) -> None:
    """Remove unused nodes, in bodies too, and unused initializers."""
    _remove_nodes(graph)
    kept = {*graph.inputs, *graph.outputs}
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in kept:
            del graph.initializers[name]


def _remove_nodes(graph: oir.Graph) -> None:
    results = set(graph.outputs)
    for node in reversed(graph):
        if any(output.uses() or output in results for output in node.outputs):
            for body in bodies(node):
                _remove_nodes(body)
        else:
            detach(node)
            graph.remove(node, safe=True)
