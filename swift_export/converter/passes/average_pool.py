"""Fuses AveragePool from sums of windows."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import evaluated
from swift_export.converter.passes.match import (
    array,
    attribute,
    can_replace,
    inputs,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    scalar,
    sizes,
)

__all__ = ["fuse_average_pool"]


def fuse_average_pool(graph: oir.Graph) -> int:
    """Sums of windows, as convolutions with ones, over the number of elements of a window -> AveragePool.

    The number is that of all places of the window, or of those within the array: sums of ones in the same windows.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in ("Div", "Mul") or node.domain:
            continue
        total, number = inputs(node)
        if node.op_type == "Mul" and scalar(total) is not None:
            total, number = number, total
        pool, moves = _sum_of_windows(total)
        if pool is None or not can_replace(node.outputs[0], total) or sizes(total) != sizes(node.outputs[0]):
            continue
        size = math.prod(pool.attributes["kernel_shape"].as_ints())
        if scalar(number) == (size if node.op_type == "Div" else 1 / size):
            padding = 1
        elif node.op_type == "Div" and _counts(number, pool, moves):
            padding = 0
        else:
            continue
        names = ("kernel_shape", "strides", "pads", "auto_pad")
        attributes = {name: pool.attributes[name] for name in names if name in pool.attributes}
        x, before = inputs(pool)[0], pool.outputs[0]
        average = new_value(graph, pool, "AveragePool", [x], sizes(before), attributes | {"count_include_pad": padding})
        replace(graph, before, average)
        replace(graph, node.outputs[0], average if total is before else total)
        count += 1
    return count


def _sum_of_windows(value: oir.Value | None) -> tuple[oir.Node | None, list[list[int]]]:
    """The convolution of each channel with ones, of which a value that is used once holds all elements, moved.

    And the permutations by which they are moved.
    """
    moves: list[list[int]] = []
    while value is not None and only_use(value) is not None:
        node = made_by(value, "Conv", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
        if node is None or node.op_type == "Conv":
            return (node if node is not None and _sums(node) else None), moves
        if node.op_type == "Transpose":
            moves.append(permutation(node))
        value = node.inputs[0]
    return None, moves


def _sums(node: oir.Node) -> bool:
    kernel = array(node.inputs[1])
    dilations = node.attributes.get("dilations")
    alone = kernel is not None and len(inputs(node)) == 2 and kernel.shape[0] == attribute(node, "group", 1)
    near = dilations is None or set(dilations.as_ints()) == {1}
    return kernel is not None and alone and near and kernel.shape[1] == 1 and bool(np.all(kernel == 1))


def _counts(value: oir.Value, pool: oir.Node, moves: list[list[int]]) -> bool:
    """Whether a value holds the sums of ones in the windows of a pool, moved like the pool's."""
    found, alike = _sum_of_windows(value)
    if found is None or alike != moves:
        return False
    same = all(found.attributes.get(name) == pool.attributes.get(name) for name in ("kernel_shape", "strides", "pads"))
    elements = evaluated(found.inputs[0])
    return same and "auto_pad" not in found.attributes and elements is not None and bool(np.all(elements == 1))
