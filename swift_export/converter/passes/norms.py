"""Shared parts of normalisations: a quotient by a root, means over trailing axes, a scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    attribute,
    axes_of,
    constant_like,
    either,
    inputs,
    is_named,
    made_by,
    new_value,
    only_use,
    scalar,
    sizes,
)
from swift_export.converter.passes.roundings import unrounded

__all__ = [
    "as_row",
    "followed_by_row",
    "inverses",
    "is_row",
    "is_square",
    "mean_axis",
    "mean_square",
    "ones",
    "plus_epsilon",
    "quotients",
    "same",
]


def quotients(node: oir.Node) -> Iterator[tuple[oir.Value, oir.Value, oir.Value | None]]:
    """(a, b, scale) for each reading of a node as ``a / sqrt(b)`` or ``a * (scale / sqrt(b))``."""
    if node.op_type == "Div":
        a, b = inputs(node)
        root = made_by(b, "Sqrt")
        if root is not None:
            yield a, inputs(root)[0], None
    elif node.op_type == "Mul":
        for a, inverse in either(node):
            yield from ((a, b, scale) for b, scale in inverses(inverse))


def inverses(value: oir.Value) -> Iterator[tuple[oir.Value, oir.Value | None]]:
    """(b, scale) for each reading of a value as ``1 / sqrt(b)`` or ``scale / sqrt(b)``."""
    root = _root_of_inverse(value)
    if root is not None:
        yield root, None
    product = made_by(unrounded(value), "Mul")
    for scale, other in either(product) if product is not None else ():
        root = _root_of_inverse(other)
        if root is not None and scale.dtype == value.dtype:
            yield root, scale


def _root_of_inverse(value: oir.Value) -> oir.Value | None:
    """b if a value is ``1 / sqrt(b)``."""
    inverse = made_by(unrounded(value), "Reciprocal")
    root = made_by(unrounded(inputs(inverse)[0]), "Sqrt") if inverse is not None else None
    return inputs(root)[0] if root is not None else None


def plus_epsilon(value: oir.Value) -> Iterator[tuple[oir.Value, float]]:
    """(x, epsilon) for each reading of a value as ``x + epsilon``."""
    add = made_by(unrounded(value), "Add")
    for x, constant in either(add) if add is not None else ():
        epsilon = scalar(constant)
        if epsilon is not None:
            yield x, epsilon


def mean_square(value: oir.Value, of: oir.Value) -> int | None:
    """The first axis if a value is ``mean(of²)`` over trailing axes."""
    average = made_by(unrounded(value), "ReduceMean")
    square = inputs(average)[0] if average is not None else None
    return mean_axis(average, square) if square is not None and is_square(square, of) else None


def is_square(value: oir.Value, of: oir.Value) -> bool:
    """Whether a value is ``of²``."""
    node = made_by(unrounded(value), "Mul", "Pow")
    if node is None:
        return False
    a, b = inputs(node)
    return same(a, of) and (same(b, of) if node.op_type == "Mul" else scalar(b) == 2)


def same(a: oir.Value, b: oir.Value) -> bool:
    """Whether two values are one, but for conversions between floats of 16 and 32 bits.

    JAX computes means of 16 bits in float32 and rounds each: normalizations do not, nor does XLA.
    """
    return unrounded(a) is unrounded(b)


def mean_axis(node: oir.Node | None, of: oir.Value) -> int | None:
    """The first axis of a mean of ``of`` over trailing axes, kept with size 1."""
    if node is None or not same(inputs(node)[0], of) or attribute(node, "keepdims", 1) != 1:
        return None
    axes, rank = axes_of(node), len(sizes(of))
    return axes[0] if axes and axes == list(range(axes[0], rank)) else None


def ones(graph: oir.Graph, x: oir.Value, axis: int) -> oir.Value | None:
    """A scale of ones, if the sizes are known."""
    shape = [s for s in sizes(x)[axis:] if isinstance(s, int)]
    if len(shape) != len(sizes(x)) - axis or x.dtype is None:
        return None
    return constant_like(graph, np.ones(shape, x.dtype.numpy()))


def is_row(value: oir.Value, shape: Sequence[int | str]) -> bool:
    """Whether a value is an unnamed number or has this shape, but for axes of size 1 in front of it."""
    if scalar(value) is not None:
        return not is_named(value)
    front = len(sizes(value)) - len(shape)
    return front >= 0 and sizes(value) == [1] * front + list(shape)


def as_row(graph: oir.Graph, before: oir.Node, value: oir.Value, shape: Sequence[int | str]) -> oir.Value | None:
    """A value that `is_row` in exactly that shape; None if its sizes are unknown."""
    while sizes(value) != list(shape):
        move = made_by(value, "Reshape", "Unsqueeze")
        if move is not None and is_row(inputs(move)[0], shape):
            value = inputs(move)[0]
            continue
        known = [size for size in shape if isinstance(size, int)]
        if len(known) < len(shape) or 0 in known:
            return None
        elements = array(value)
        if elements is not None and not is_named(value):
            return constant_like(graph, np.resize(elements, known))
        target = constant_like(graph, np.asarray(known, np.int64))
        return new_value(graph, before, "Reshape", [value, target], known)
    return value


def followed_by_row(
    graph: oir.Graph, node: oir.Node, op_type: str, shape: Sequence[int | str]
) -> tuple[oir.Node, oir.Value | None]:
    """The commutative op that is the only user of a node's result, with its other operand if that is a row of this
    shape; else the node itself and None.
    """
    user = only_use(node.outputs[0])
    if user is not None and user.op_type == op_type and not user.domain:
        for result, other in either(user):
            if result is node.outputs[0] and is_row(other, shape) and sizes(user.outputs[0]) == sizes(result):
                row = as_row(graph, user, other, shape)
                if row is not None:
                    return user, row
    return node, None
