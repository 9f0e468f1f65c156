"""Fuses InstanceNormalization from means over all axes but those of the batch and of channels or their groups."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    axes_of,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.norms import plus_epsilon, quotients
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["fuse_instance_normalization"]

RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class _Norm:
    """x normalised: ``grouped`` is x with an axis of its own for the groups of channels."""

    x: oir.Value
    grouped: list[int | str]
    group: int
    epsilon: float
    scale: oir.Value | None = None


def fuse_instance_normalization(graph: oir.Graph) -> int:
    """``(x - mean) * rsqrt(variance + epsilon)`` with means per element of a batch and group of channels.

    The variance is the mean of squared differences, or of squares less the mean's square, at least 0, as Flax writes
    it. Of float32: the op has no other kernel. The means of groups may be repeated for each of their channels.
    """
    count = 0
    for node in list(graph):
        found = _normalised(node) if node.graph is not None and node.outputs[0].dtype == oir.DataType.FLOAT else None
        if found is not None and _write(graph, node, found):
            count += 1
    return count


def _normalised(node: oir.Node) -> _Norm | None:
    for centred, inside, scale in _quotients(node):
        difference = made_by(centred, "Sub")
        if difference is None or sizes(centred) != sizes(node.outputs[0]):
            continue
        x, mean = inputs(difference)
        for variance, epsilon in plus_epsilon(inside):
            if epsilon >= 0 and (found := _of_groups(x, mean, variance, centred, epsilon)):
                return dataclasses.replace(found, scale=scale)
    return None


def _quotients(node: oir.Node) -> list[tuple[oir.Value, oir.Value, oir.Value | None]]:
    """(a, b, c) for each reading of a node as ``a / sqrt(b)``, or as ``a * (c / sqrt(b))``."""
    found = list(quotients(node))
    for a, scaled in either(node) if node.op_type == "Mul" else []:
        quotient = made_by(scaled, "Div")
        found += [(a, b, c) for c, b, _ in (quotients(quotient) if quotient is not None else [])]
    return found


def _of_groups(x: oir.Value, mean: oir.Value, variance: oir.Value, centred: oir.Value, epsilon: float) -> _Norm | None:
    average = _statistic(mean)
    if average is None:
        return None
    source, axes = inputs(average)[0], axes_of(average)
    again = made_by(source, *RESHAPES)
    grouped = sizes(source)
    if axes is None or not (source is x or (again is not None and again.inputs[0] is x)):
        return None
    # Means of a batch of one may be over its axis as well.
    kept = [axis for axis in range(len(grouped)) if axis not in axes or (axis == 0 and grouped[0] == 1)]
    if len(kept) != 2 or kept[0] != 0 or not isinstance(grouped[kept[1]], int) or grouped[0] != sizes(x)[0]:
        return None
    if not all(_is_aligned(value, x, grouped, kept[1]) for value in (mean, variance)):
        return None
    spread = _spread(variance, average, source, centred)
    return _Norm(x, grouped, kept[1], epsilon) if spread is not None and axes_of(spread) == axes else None


def _statistic(value: oir.Value | None) -> oir.Node | None:
    """The mean that a value repeats along other axes."""
    node = made_by(value, "ReduceMean", "Expand", *RESHAPES)
    return node if node is None or node.op_type == "ReduceMean" else _statistic(node.inputs[0])


def _spread(variance: oir.Value, average: oir.Node, source: oir.Value, centred: oir.Value) -> oir.Node | None:
    """The mean of squares in a variance of these elements, repeated along other axes or not."""
    while (node := made_by(variance, "Expand", *RESHAPES)) is not None and node.inputs[0] is not None:
        variance = node.inputs[0]
    bounded = made_by(variance, "Max")
    for value, zero in either(bounded) if bounded is not None else []:
        if scalar(zero) == 0:
            variance = value
    less = made_by(variance, "Sub")
    squares = made_by(less.inputs[0] if less is not None else variance, "ReduceMean")
    square = made_by(squares.inputs[0], "Mul") if squares is not None else None
    if squares is None or square is None or square.inputs[0] is not square.inputs[1]:
        return None
    if less is None:
        return squares if square.inputs[0] is centred and sizes(source) == sizes(centred) else None
    squared = made_by(less.inputs[1], "Mul")
    if squared is None or squared.inputs[0] is not squared.inputs[1] or squared.inputs[0] is not average.outputs[0]:
        return None
    same = attribute(squares, "keepdims", 1) == attribute(average, "keepdims", 1)
    return squares if square.inputs[0] is source and same else None


def _is_aligned(value: oir.Value, x: oir.Value, grouped: list[int | str], group: int) -> bool:
    """Whether statistics of (batch, groups), reshaped and repeated, stand at the channels of their group in x."""
    shape, batch, groups = sizes(x), grouped[0], grouped[group]
    here = [*[1] * (len(shape) - len(sizes(value))), *sizes(value)]
    each: int | str = 1
    if shape != grouped:
        # Channels are cut into groups and elements of a group, which follow one another.
        each = [*grouped, 1][group + 1]
        if not isinstance(groups, int) or not isinstance(each, int):
            return False
        if shape != [*grouped[:group], groups * each, *grouped[group + 2 :]] or len(grouped) != len(shape) + 1:
            return False
    wanted = [batch if axis == 0 else shape[axis] if axis == group else 1 for axis in range(len(shape))]
    if here != wanted:
        return False
    node = value.producer()
    while node is not None and node.op_type in ("Expand", *RESHAPES) and node.inputs[0] is not None:
        before = [size for size in sizes(node.inputs[0]) if size != 1]
        if node.op_type == "Expand":
            after = [size for size in sizes(node.outputs[0]) if size != 1]
            last = sizes(node.inputs[0])[-1] == 1 and sizes(node.outputs[0])[-1] == each
            if after != [*before, each] or not last:
                return False
        node = node.inputs[0].producer()
    return True


def _write(graph: oir.Graph, node: oir.Node, norm: _Norm) -> bool:
    """Channels second, the elements of a group joined to the axis behind them."""
    shape, groups, epsilon = sizes(norm.x), norm.grouped[norm.group], {"epsilon": norm.epsilon}
    order = [0, *range(norm.group, len(shape)), *range(1, norm.group)]
    turned = [shape[axis] for axis in order]
    joined = turned
    if len(norm.grouped) > len(shape):
        each, behind = norm.grouped[norm.group + 1], [*turned[2:], 1][0]
        if not isinstance(each, int) or not isinstance(behind, int):
            return False
        joined = [turned[0], groups, each * behind, *turned[3:]]
    to_joined, to_turned = reshape_target(joined), reshape_target(turned)
    if len(joined) < 3 or to_joined is None or to_turned is None:
        return False
    value = norm.x
    if order != sorted(order):
        value = new_value(graph, node, "Transpose", [value], turned, {"perm": order})
    if joined != turned:
        value = new_value(graph, node, "Reshape", [value, constant_like(graph, to_joined)], joined)
    scale, bias = (constant_like(graph, np.full(int(groups), number, np.float32)) for number in (1, 0))
    value = new_value(graph, node, "InstanceNormalization", [value, scale, bias], joined, epsilon)
    if joined != turned:
        value = new_value(graph, node, "Reshape", [value, constant_like(graph, to_turned)], turned)
    if order != sorted(order):
        back = {"perm": [order.index(axis) for axis in range(len(order))]}
        value = new_value(graph, node, "Transpose", [value], shape, back)
    if norm.scale is not None:
        value = new_value(graph, node, "Mul", [value, norm.scale], shape)
    replace(graph, node.outputs[0], value)
    return True
