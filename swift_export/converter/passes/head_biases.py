"""Adds the bias of a product before the columns are cut into heads, where runtimes fuse it with the product."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    constant_like,
    either,
    inputs,
    is_named,
    made_by,
    new_value,
    only_use,
    replace,
    sizes,
)

__all__ = ["flatten_biases"]


def flatten_biases(graph: oir.Graph) -> int:
    """``Reshape(x @ W) + b`` -> ``Reshape(x @ W + flat b)`` where the reshape cuts columns into the axes of b.

    So Flax and Keras write queries, keys and values: W is (width, heads, channels) and b is (heads, channels).
    """
    count = 0
    for node in list(graph):
        if node.op_type != "Add" or node.domain:
            continue
        for cut, bias in either(node):
            move = made_by(cut, "Reshape")
            if move is None or only_use(cut) is not node or only_use(inputs(move)[0]) is not move:
                continue
            rows, target = inputs(move)
            columns = _columns(rows, cut, bias)
            if columns is None or made_by(rows, "Gemm", "MatMul") is None:
                continue
            added = new_value(graph, node, "Add", [rows, _flat(graph, node, bias, columns)], sizes(rows))
            moved = new_value(graph, node, "Reshape", [added, target], sizes(cut), dict(move.attributes))
            replace(graph, node.outputs[0], moved)
            count += 1
            break
    return count


def _columns(rows: oir.Value, cut: oir.Value, bias: oir.Value) -> int | None:
    """The number of columns, if a bias has one number for each of them and the same for all rows."""
    axes = sizes(bias)
    while axes[:1] == [1]:
        axes = axes[1:]
    known = [size for size in axes if isinstance(size, int)]
    same = sizes(cut)[-len(axes) :] == known and sizes(rows)[-1:] == [math.prod(known)]
    return math.prod(known) if len(known) > 1 and same and len(sizes(bias)) <= len(sizes(cut)) else None


def _flat(graph: oir.Graph, node: oir.Node, bias: oir.Value, columns: int) -> oir.Value:
    elements = array(bias)
    if elements is not None and not is_named(bias):
        return constant_like(graph, elements.reshape(columns))
    target = constant_like(graph, np.asarray([columns], np.int64))
    return new_value(graph, node, "Reshape", [bias, target], [columns])
