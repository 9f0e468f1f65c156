"""Reduces values before they are moved, and along all axes at once."""

from __future__ import annotations

from itertools import chain

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    axes_of,
    constant_like,
    inputs,
    made_by,
    new_value,
    only_use,
    replace,
    sizes,
)
from swift_export.converter.passes.moves import MOVES, Tracked, chains
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["merge_reductions", "reduce_before_moves"]

REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")


def reduce_before_moves(graph: oir.Graph) -> int:
    """``Reduce(moves(x))`` -> ``moves(Reduce(x))``, with a Transpose and a Reshape at most, if that are no more nodes.

    What is left has fewer elements to move. Only where the reduced axes disappear: with others, passes match norms.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in REDUCTIONS or attribute(node, "keepdims", 1) == 1 or node.domain:
            continue
        axes, move = axes_of(node), made_by(node.inputs[0], *MOVES)
        if axes is None or move is None or only_use(move.outputs[0]) is None:
            continue
        for source, nodes in reversed(chains(move)):
            result = _reduced(graph, node, axes, source, nodes)
            if result is not None:
                replace(graph, node.outputs[0], result)
                count += 1
                break
    return count


def _reduced(
    graph: oir.Graph, node: oir.Node, axes: list[int], source: oir.Value, moves: list[oir.Node]
) -> oir.Value | None:
    tracked, final = Tracked(sizes(source)), sizes(node.outputs[0])
    for move in moves:
        if move.op_type == "Transpose":
            tracked.transpose(list(move.attributes["perm"].as_ints()))
        elif not tracked.reshape(sizes(move.outputs[0])):
            return None
    gone = set(chain.from_iterable(tracked.now[axis] for axis in axes))
    before = [axis for axis, pieces in enumerate(tracked.before) if pieces and gone.issuperset(pieces)]
    kept = [pieces for axis, pieces in enumerate(tracked.before) if axis not in before]
    if not gone or gone & set(chain.from_iterable(kept)):
        return None
    now = [piece for axis, pieces in enumerate(tracked.now) if axis not in axes for piece in pieces]
    ones, rest = [i for i, pieces in enumerate(kept) if not pieces], [i for i, pieces in enumerate(kept) if pieces]
    order = [*sorted(rest, key=lambda i: now.index(kept[i][0])), *ones]
    if [piece for i in order for piece in kept[i]] != now:
        return None
    shape = [size for axis, size in enumerate(sizes(source)) if axis not in before]
    turned = [shape[i] for i in order] if rest != [i for i in order if i in rest] else shape
    target = reshape_target(final)
    if (turned != final and target is None) or (turned is not shape) + (turned != final) > len(moves):
        return None
    operands = [source, constant_like(graph, np.asarray(before, np.int64))]
    result = new_value(graph, node, node.op_type, operands, shape, {"keepdims": 0})
    if turned is not shape:
        result = new_value(graph, node, "Transpose", [result], turned, {"perm": order})
    if turned != final and target is not None:
        result = new_value(graph, node, "Reshape", [result, constant_like(graph, target)], final)
    return result


def merge_reductions(graph: oir.Graph) -> int:
    """A reduction of a reduction by the same op -> one along all axes of both."""
    count = 0
    for node in list(graph):
        inner = made_by(node.inputs[0], node.op_type) if node.op_type in REDUCTIONS and not node.domain else None
        if inner is None or only_use(inner.outputs[0]) is None:
            continue
        first, second, keepdims = axes_of(inner), axes_of(node), attribute(node, "keepdims", 1)
        if first is None or second is None or attribute(inner, "keepdims", 1) != keepdims:
            continue
        if keepdims == 0:
            left = [axis for axis in range(len(sizes(inputs(inner)[0]))) if axis not in first]
            second = [left[axis] for axis in second]
        axes = constant_like(graph, np.asarray(sorted({*first, *second}), np.int64))
        operands = [inputs(inner)[0], axes]
        replace(
            graph,
            node.outputs[0],
            new_value(graph, node, node.op_type, operands, sizes(node.outputs[0]), {"keepdims": keepdims}),
        )
        count += 1
    return count
