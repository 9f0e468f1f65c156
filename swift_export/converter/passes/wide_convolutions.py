"""Writes convolutions over one axis as convolutions over images of one row, for which ONNX Runtime has faster kernels.

Only for images does it keep channels in blocks: depthwise convolutions are then three to five times as fast, others up
to a quarter faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.any_layout import ELEMENTWISE
from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    inputs,
    integers,
    is_named,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
)

__all__ = ["widen_convolutions"]

#: The channels of a block of ONNX Runtime's kernels for AVX-512, also a multiple of those for AVX2.
BLOCK = 16
#: Bytes of the largest weights that are read in no time, and the shortest row for which larger ones pay.
LARGEST, SHORTEST = 2**21, 64
#: Where the axis of the row stands: with channels second, and with channels last.
SECOND, LAST = 2, 1
TO_LAST, TO_SECOND = [0, 2, 3, 1], [0, 3, 1, 2]


def widen_convolutions(graph: oir.Graph) -> int:
    """``Conv(x)`` of float32 over one axis -> that over images of one row, with the elementwise ops behind it.

    If the channels fill blocks. Axes of size 1 between two of them cancel.
    """
    count = 0
    for node in list(graph):
        if node.op_type == "Conv" and not node.domain and _fills_blocks(node):
            _widen(graph, node)
            count += 1
    return count


def _fills_blocks(node: oir.Node) -> bool:
    x, weights, *bias = inputs(node)
    shape = sizes(weights)
    if x.dtype != oir.DataType.FLOAT or len(shape) != 3 or not all(map(_is_constant, (weights, *bias))):
        return False
    outside, inside, width = (size for size in shape if isinstance(size, int))
    groups = attribute(node, "group", 1)
    length = sizes(x)[-1]
    if outside * inside * width * 4 > LARGEST and isinstance(length, int) and length < SHORTEST:
        return False
    if groups == 1:
        return outside % BLOCK == 0 and (inside % BLOCK == 0 or inside < BLOCK)
    depthwise = inside == 1 and outside == groups
    return outside % BLOCK == 0 if depthwise else inside % BLOCK == 0 and outside // groups % BLOCK == 0


def _is_constant(value: oir.Value) -> bool:
    """Whether ONNX Runtime knows a value when it loads the file."""
    move = made_by(value, "Reshape", "Squeeze", "Transpose", "Unsqueeze")
    return array(value) is not None or (move is not None and _is_constant(inputs(move)[0]))


def _widen(graph: oir.Graph, node: oir.Node) -> None:
    x, weights, *bias = inputs(node)
    elements = array(weights)
    if elements is None or is_named(weights):
        kernel = _with_row(graph, node, weights, SECOND)
    else:
        kernel = constant_like(graph, np.expand_dims(elements, SECOND))
    found = {"dilations": 1, "kernel_shape": 1, "strides": 1}
    attributes = dict(node.attributes)
    for name in found.keys() & attributes.keys():
        attributes[name] = oir.AttrInt64s(name, [found[name], *attributes[name].as_ints()])
    if "pads" in attributes:
        before, behind = attributes["pads"].as_ints()
        attributes["pads"] = oir.AttrInt64s("pads", [0, before, 0, behind])
    operands = [_wide(graph, node, x), kernel, *bias]
    value, last = new_value(graph, node, "Conv", operands, _row(node.outputs[0], SECOND), attributes), node
    while (user := only_use(last.outputs[0])) is not None and _is_pointwise(user, last.outputs[0]):
        given = [v for v in user.inputs if v is not None]
        operands = [value if v is last.outputs[0] else v if _is_number(v) else _wide(graph, user, v) for v in given]
        shape = _row(user.outputs[0], SECOND)
        value = new_value(graph, user, user.op_type, operands, shape, dict(user.attributes), domain=user.domain)
        last = user
    axis = SECOND
    if user is not None and user.op_type == "Transpose" and permutation(user) == [0, 2, 1]:
        value = new_value(graph, user, "Transpose", [value], _row(user.outputs[0], LAST), {"perm": TO_LAST})
        last, axis = user, LAST
    narrow = new_value(graph, last, "Squeeze", [value, _axes(graph, axis)], sizes(last.outputs[0]))
    replace(graph, last.outputs[0], narrow)


def _is_pointwise(node: oir.Node, value: oir.Value) -> bool:
    """An op on the elements of a value, with numbers or with a value of the same shape; of one float32 result."""
    if node.op_type not in ({"QuickGelu"} if node.domain == MICROSOFT else ELEMENTWISE if not node.domain else ()):
        return False
    others = [v for v in node.inputs if v is not None and v is not value]
    alike = all(_is_number(v) or (v.dtype == value.dtype and sizes(v) == sizes(value)) for v in others)
    result = node.outputs[0]
    return alike and result.dtype == value.dtype and sizes(result) == sizes(value)


def _is_number(value: oir.Value) -> bool:
    return value.shape is not None and math.prod(size if isinstance(size, int) else 2 for size in sizes(value)) == 1


def _wide(graph: oir.Graph, before: oir.Node, value: oir.Value) -> oir.Value:
    """A value (batch, channels, length) with a row."""
    source = _narrowed(value, SECOND)
    if source is not None:
        return source
    turn = made_by(value, "Transpose")
    if turn is None or permutation(turn) != [0, 2, 1]:
        return _with_row(graph, before, value, SECOND)
    x = inputs(turn)[0]
    whole = _narrowed(x, LAST)
    if whole is None:
        whole = _with_row(graph, before, x, LAST)
    return new_value(graph, before, "Transpose", [whole], _row(value, SECOND), {"perm": TO_SECOND})


def _narrowed(value: oir.Value, axis: int) -> oir.Value | None:
    """The value of which one is made by taking out a row."""
    node = made_by(value, "Squeeze")
    if node is None or len(inputs(node)) < 2 or integers(node.inputs[1]) != [axis]:
        return None
    return inputs(node)[0] if len(sizes(value)) == 3 else None


def _with_row(graph: oir.Graph, before: oir.Node, value: oir.Value, axis: int) -> oir.Value:
    return new_value(graph, before, "Unsqueeze", [value, _axes(graph, axis)], _row(value, axis))


def _row(value: oir.Value, axis: int) -> Sequence[int | str]:
    """The shape of a value with a row."""
    return [*sizes(value)[:axis], 1, *sizes(value)[axis:]]


def _axes(graph: oir.Graph, axis: int) -> oir.Value:
    return constant_like(graph, np.asarray([axis], np.int64))
