"""Removes nodes that only pass a value on."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.builder import SCOPE
from swift_export.converter.passes.match import can_replace, replace, scope
from swift_export.converter.passes.nested import all_nodes

__all__ = ["remove_identities"]


def remove_identities(graph: oir.Graph) -> int:
    """Identity -> its operand, in bodies too. A node of the same graph still produces each output.

    (onnx-ir's pass lets a body return a value from outside.)
    """
    count = 0
    for node in list(all_nodes(graph)):
        if node.op_type != "Identity" or node.domain:
            continue
        source, output = node.inputs[0], node.outputs[0]
        if source is None:
            continue
        if output.is_graph_output() and not can_replace(output, source):
            # It stays, in the scope of its operand: merging equal nodes makes some without a scope.
            producer = source.producer()
            if producer is not None:
                node.metadata_props.setdefault(SCOPE, scope(producer))
            continue
        replace(graph, output, source)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        count += 1
    return count
