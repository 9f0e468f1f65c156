"""Fuses Softmax and LogSoftmax from a maximum, exponentials and their sum."""

from __future__ import annotations

import math

import onnx_ir as oir

from swift_export.converter.passes.match import attribute, axes_of, inputs, made_by, new_value, replace, scalar, sizes
from swift_export.converter.passes.roundings import unrounded

__all__ = ["fuse_softmax"]


def fuse_softmax(graph: oir.Graph) -> int:
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` along one axis -> ``Softmax(x)``; ``x - max(x) - log(sum(...))`` ->
    ``LogSoftmax(x)``.

    The sum may leave out elements that are -inf in x, and may be rounded to 16 bits: inside the op, it is not.
    """
    count = 0
    for node in list(graph):
        found = _softmax(node) or _log_softmax(node)
        if found is not None and found[1].dtype == node.outputs[0].dtype:
            op_type, x, axis = found
            replace(graph, node.outputs[0], new_value(graph, node, op_type, [x], sizes(x), {"axis": axis}))
            count += 1
    return count


def _softmax(node: oir.Node) -> tuple[str, oir.Value, int] | None:
    if node.op_type != "Div" or node.domain:
        return None
    exponentials, total = inputs(node)
    found = _sum_of_exponentials(total)
    if found is None or found[0] is not unrounded(exponentials):
        return None
    return "Softmax", *found[1:]


def _log_softmax(node: oir.Node) -> tuple[str, oir.Value, int] | None:
    if node.op_type != "Sub" or node.domain:
        return None
    shifted, logarithm = inputs(node)
    log = made_by(unrounded(logarithm), "Log")
    found = _sum_of_exponentials(inputs(log)[0]) if log is not None else None
    if found is None or unrounded(inputs(_made(found[0]))[0]) is not unrounded(shifted):
        return None
    return "LogSoftmax", *found[1:]


def _sum_of_exponentials(total: oir.Value) -> tuple[oir.Value, oir.Value, int] | None:
    """(exponentials, x, axis from the end) if a value is ``sum(exp(x - max(x)))`` along one axis."""
    summed = made_by(unrounded(total), "ReduceSum")
    if summed is None:
        return None
    exponentials, mask = _unmasked(unrounded(inputs(summed)[0]))
    exp = made_by(exponentials, "Exp")
    difference = made_by(unrounded(inputs(exp)[0]), "Sub") if exp is not None else None
    if difference is None:
        return None
    x, largest = inputs(difference)
    maximum = made_by(unrounded(largest), "ReduceMax")
    if maximum is None or unrounded(inputs(maximum)[0]) is not unrounded(x):
        return None
    if mask is not None and _mask_of_infinities(x) is not mask:
        return None
    axes = axes_of(summed)
    # Without its first axis, a reduction is broadcast over that.
    kept = axes == [0] or attribute(summed, "keepdims", 1) == attribute(maximum, "keepdims", 1) == 1
    if axes is None or len(axes) != 1 or axes_of(maximum) != axes or not kept:
        return None
    return exponentials, x, axes[0] - len(sizes(x))


def _unmasked(value: oir.Value) -> tuple[oir.Value, oir.Value | None]:
    """(a, mask) of ``Where(mask, a, 0)``."""
    choice = made_by(value, "Where")
    if choice is None or scalar(inputs(choice)[2]) != 0:
        return value, None
    mask, a, _ = inputs(choice)
    return unrounded(a), mask


def _mask_of_infinities(x: oir.Value) -> oir.Value | None:
    """The mask of ``Where(mask, a, -inf)``."""
    choice = made_by(x, "Where")
    return inputs(choice)[0] if choice is not None and scalar(inputs(choice)[2]) == -math.inf else None


def _made(value: oir.Value) -> oir.Node:
    node = value.producer()
    assert node is not None
    return node
