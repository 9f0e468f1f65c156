"""Fuses LayerNormalization from means, a square root and products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as oir

from swift_export.converter.passes.half_ops import widened_from
from swift_export.converter.passes.match import either, inputs, made_by, new_value, only_use, replace, scalar, sizes
from swift_export.converter.passes.norms import (
    as_row,
    followed_by_row,
    inverses,
    is_row,
    is_square,
    mean_axis,
    mean_square,
    ones,
    plus_epsilon,
    quotients,
    same,
)
from swift_export.converter.passes.roundings import unrounded

__all__ = ["fuse_layer_normalization"]


@dataclass(frozen=True)
class _Norm:
    """``scale * (x - mean) / sqrt(variance + epsilon) + bias`` over the axes from ``axis`` on."""

    x: oir.Value
    axis: int
    epsilon: float
    scale: oir.Value | None = None
    bias: oir.Value | None = None


def fuse_layer_normalization(graph: oir.Graph) -> int:
    """``(x - mean) * rsqrt(variance + epsilon) [* scale] [+ bias]`` over trailing axes.

    The scale may multiply the root. The variance is ``mean((x - mean)²)`` or ``max(mean(x²) - mean², 0)``, which the op
    computes with fewer roundings. Not for doubles: the op computes its means in float32. If x has 16 bits and only the
    quotient is computed in float32, the op has 16 bits.
    """
    count = 0
    for node in list(graph):
        found = next(_normalised(node), None) if node.graph is not None else None
        if found is None:
            continue
        x, shape, last = found.x, sizes(found.x)[found.axis :], node
        if found.scale is None and found.bias is None:
            x, last = _narrowed(x, node)
        rows = [None if v is None else as_row(graph, node, v, shape) for v in (found.scale, found.bias)]
        scale, bias = rows
        if (scale is None) != (found.scale is None) or (bias is None) != (found.bias is None):
            continue
        if scale is None and bias is None:
            last, scale = followed_by_row(graph, last, "Mul", shape)
        if bias is None:
            last, bias = followed_by_row(graph, last, "Add", shape)
        scale = scale or ones(graph, x, found.axis)
        if scale is None:
            continue
        operands = [x, scale] if bias is None else [x, scale, bias]
        attributes = {"axis": found.axis - len(sizes(x)), "epsilon": found.epsilon}
        fused = new_value(graph, last, "LayerNormalization", operands, sizes(x), attributes)
        replace(graph, last.outputs[0], fused)
        count += 1
    return count


def _narrowed(x: oir.Value, node: oir.Node) -> tuple[oir.Value, oir.Node]:
    """x of 16 bits and the conversion of the result to that type, if the program only widens between them.

    By default (``stash_type``), the op computes mean and variance in float32.
    """
    narrow, user = widened_from(x), only_use(node.outputs[0])
    rounded = user is not None and user.op_type == "Cast" and not user.domain
    if narrow is None or user is None or not rounded or user.outputs[0].dtype != narrow.dtype:
        return x, node
    return narrow, user


def _normalised(node: oir.Node) -> Iterator[_Norm]:
    """The readings of a node's result as x normalised."""
    if node.domain or node.outputs[0].dtype == oir.DataType.DOUBLE:
        return
    parts: list[tuple[oir.Value, oir.Value, oir.Value, oir.Value | None, oir.Value | None]] = []
    for centred, root, scale in quotients(node):
        difference = made_by(centred, "Sub")
        if difference is not None:
            x, mean = inputs(difference)
            parts.append((x, mean, root, scale, None))
    for x, mean, root, scale, bias in [*parts, *_multiplied_out(node)]:
        for variance, epsilon in plus_epsilon(root):
            axis = mean_axis(made_by(unrounded(mean), "ReduceMean"), x)
            if axis is None or _variance_axis(variance, x, mean) != axis or sizes(node.outputs[0]) != sizes(x):
                continue
            if all(v is None or is_row(v, sizes(x)[axis:]) for v in (scale, bias)):
                yield _Norm(x, axis, epsilon, scale, bias)


def _multiplied_out(
    node: oir.Node,
) -> Iterator[tuple[oir.Value, oir.Value, oir.Value, oir.Value | None, oir.Value | None]]:
    """(x, mean, b, scale, bias) of ``x * g + (bias - mean * g)`` with ``g = scale / sqrt(b)``, as Keras writes it."""
    for first, rest in either(node) if node.op_type == "Add" else ():
        product = made_by(first, "Mul")
        for x, factor in either(product) if product is not None else ():
            for root, scale in inverses(factor):
                yield from ((x, mean, root, scale, bias) for mean, bias in _less_product(rest, factor))


def _less_product(value: oir.Value, factor: oir.Value) -> Iterator[tuple[oir.Value, oir.Value | None]]:
    """(a, b) for each reading of a value as ``b - a * factor``; b is None for 0."""
    product = made_by(value, "Mul")
    for a, other in either(product) if product is not None else ():
        negated = made_by(a, "Neg")
        if other is factor and negated is not None:
            yield inputs(negated)[0], None
    total = made_by(value, "Add")
    for scaled, bias in either(total) if total is not None else ():
        yield from ((a, bias) for a, none in _less_product(scaled, factor) if none is None)


def _variance_axis(value: oir.Value, x: oir.Value, mean: oir.Value) -> int | None:
    """The first axis over which a value is the variance of x, of this mean."""
    average = made_by(unrounded(value), "ReduceMean")
    square = made_by(unrounded(inputs(average)[0]), "Mul", "Pow") if average is not None else None
    difference = made_by(unrounded(inputs(square)[0]), "Sub") if square is not None else None
    if difference is not None and all(map(same, inputs(difference), (x, mean))):
        return mean_square(value, difference.outputs[0])
    maximum = made_by(value, "Max")
    for zero, other in either(maximum) if maximum is not None else ():
        difference = made_by(other, "Sub")
        if scalar(zero) == 0 and difference is not None and is_square(inputs(difference)[1], mean):
            return mean_square(inputs(difference)[0], x)
    return None
