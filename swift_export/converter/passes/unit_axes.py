"""Moves the axes of size 1 that ``vmap`` and grouped heads add to scores of attention behind the softmax."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["sink_unit_axes"]

MOVES = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")
SCALED = ("Add", "Div", "Mul", "Sub")


def sink_unit_axes(graph: oir.Graph) -> int:
    """``f(move(x))`` -> ``Reshape(f(x))`` if the move only adds, removes or moves axes of size 1. f is a softmax over
    the last axis, an op with a number, or a choice between x and a number; a Transpose behind a softmax that only
    moves such axes becomes a Reshape.
    """
    count = 0
    for node in list(graph):
        if node.domain or node.graph is None or only_use(node.outputs[0]) is None:
            continue
        if node.op_type == "Transpose":
            count += _plain_reshape(graph, node)
            continue
        y = _operand(node) if _leads_to_softmax(node) else None
        x = _before_unit_axes(y) if y is not None and only_use(y) is node else None
        target = reshape_target(sizes(node.outputs[0]))
        if x is None or y is None or target is None or sizes(y) != sizes(node.outputs[0]):
            continue
        attributes = dict(node.attributes)
        if node.op_type == "Softmax":
            if attribute(node, "axis", -1) not in (-1, len(sizes(y)) - 1) or sizes(x)[-1:] != sizes(y)[-1:]:
                continue
            attributes = {"axis": oir.AttrInt64("axis", -1)}
        operands = [x if v is y else v for v in inputs(node)]
        if node.op_type == "Where":
            mask = _like(graph, node, operands[0], y, x)
            if mask is None:
                continue
            operands[0] = mask
        made = new_value(graph, node, node.op_type, operands, sizes(x), attributes, dtype=y.dtype)
        replace(
            graph,
            node.outputs[0],
            new_value(graph, node, "Reshape", [made, constant_like(graph, target)], sizes(node.outputs[0])),
        )
        count += 1
    return count


def _operand(node: oir.Node) -> oir.Value | None:
    """The operand in front of which axes may change."""
    if node.op_type == "Softmax":
        return inputs(node)[0]
    if node.op_type in SCALED:
        pairs = either(node)
    elif node.op_type == "Where":
        _, a, b = inputs(node)
        pairs = [(a, b), (b, a)]
    else:
        return None
    return next((x for x, number in pairs if scalar(number) is not None and scalar(x) is None), None)


def _leads_to_softmax(node: oir.Node) -> bool:
    """Whether a node's result is scores: queries and keys keep their axes, by which attention is recognised."""
    user: oir.Node | None = node
    while user is not None and not user.domain and user.op_type in (*SCALED, *MOVES, "Where"):
        user = only_use(user.outputs[0])
    return user is not None and user.op_type == "Softmax" and not user.domain


def _before_unit_axes(value: oir.Value) -> oir.Value | None:
    """The value before a move that keeps the order of all axes but those of size 1."""
    move = made_by(value, *MOVES)
    if move is None or "allowzero" in move.attributes:
        return None
    x = inputs(move)[0]
    return x if sizes(x) != sizes(value) and _keeps_order(move) else None


def _keeps_order(move: oir.Node) -> bool:
    x, y = inputs(move)[0], move.outputs[0]
    if move.op_type == "Transpose":
        wide = [axis for axis in permutation(move) if sizes(x)[axis] != 1]
        return wide == sorted(wide)
    return _wide(x) == _wide(y)


def _wide(value: oir.Value) -> list[int | str]:
    return [size for size in sizes(value) if size != 1]


def _like(graph: oir.Graph, node: oir.Node, mask: oir.Value, y: oir.Value, x: oir.Value) -> oir.Value | None:
    """A mask that broadcasts to x, from one that broadcasts to y; None if its shape cannot be written."""
    front = len(sizes(y)) - len(sizes(mask))
    if front < 0:
        return None
    aligned = [1] * front + sizes(mask)
    kept = iter([part for part, size in zip(aligned, sizes(y), strict=True) if size != 1])
    shape = [1 if size == 1 else next(kept) for size in sizes(x)]
    while shape[:1] == [1] and len(shape) > 1:
        del shape[0]
    if shape == sizes(mask):
        return mask
    target = reshape_target(shape)
    if target is None:
        return None
    return new_value(graph, node, "Reshape", [mask, constant_like(graph, target)], shape)


def _plain_reshape(graph: oir.Graph, node: oir.Node) -> bool:
    """Replace a Transpose between reshapes that only moves axes of size 1."""
    before, target = made_by(inputs(node)[0], "Reshape", "Unsqueeze"), reshape_target(sizes(node.outputs[0]))
    if before is None or made_by(before.inputs[0], "Softmax") is None or target is None or not _keeps_order(node):
        return False
    moved = new_value(graph, node, "Reshape", [inputs(node)[0], constant_like(graph, target)], sizes(node.outputs[0]))
    replace(graph, node.outputs[0], moved)
    return True
