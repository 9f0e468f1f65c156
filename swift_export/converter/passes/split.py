"""Fuses Split from slices of one source."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import constant_like, inputs, integers, replace, sizes

__all__ = ["merge_slices", "slice_bounds"]


def merge_slices(graph: oir.Graph) -> int:
    """Slices that divide one axis of a value into pieces without gap or overlap -> one Split."""
    count = 0
    for source in {id(v): v for node in graph if node.op_type == "Slice" for v in [inputs(node)[0]]}.values():
        by_axis: dict[int, list[tuple[int, int, oir.Node]]] = {}
        for user in source.consumers():
            if user.graph is not graph:
                continue
            piece = slice_bounds(user) if user.op_type == "Slice" and inputs(user)[0] is source else None
            if piece is not None and not user.outputs[0].is_graph_output():
                axis, start, stop = piece
                by_axis.setdefault(axis, []).append((start, stop, user))
        for axis, pieces in by_axis.items():
            pieces.sort(key=lambda p: p[:2])
            bounds = [p[0] for p in pieces] + [sizes(source)[axis]]
            ends = [p[1] for p in pieces]
            if len(pieces) < 2 or bounds[0] != 0 or bounds[1:] != ends:
                continue
            _split(graph, source, axis, pieces)
            count += 1
    return count


def slice_bounds(node: oir.Node) -> tuple[int, int, int] | None:
    """(axis, start, stop) of a Slice of one axis of known size, with stride 1."""
    _, starts, ends, axes, steps = [*node.inputs, None, None][:5]
    start, end = integers(starts), integers(ends)
    # Without axes, the bounds are those of the first axes.
    axis, step = [0] if axes is None else integers(axes), [1] if steps is None else integers(steps)
    if start is None or end is None or axis is None or not len(start) == len(axis) == 1 or step != [1]:
        return None
    size = sizes(inputs(node)[0])[axis[0]]
    return (axis[0], start[0], end[0]) if isinstance(size, int) and 0 <= start[0] < end[0] <= size else None


def _split(graph: oir.Graph, source: oir.Value, axis: int, pieces: list[tuple[int, int, oir.Node]]) -> None:
    lengths = constant_like(graph, np.asarray([stop - start for start, stop, _ in pieces], np.int64))
    outputs = [oir.val(None, source.dtype, list(sizes(node.outputs[0]))) for _, _, node in pieces]
    first = min((node for _, _, node in pieces), key=list(graph).index)
    split = oir.node(
        "Split", [source, lengths], {"axis": axis}, outputs=outputs, metadata_props=dict(first.metadata_props)
    )
    graph.insert_before(first, split)
    for (_, _, node), output in zip(pieces, outputs, strict=True):
        replace(graph, node.outputs[0], output)
