"""What is constant: the numbers of small expressions of unnamed constants, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import FLOATS, array, inputs, is_named, permutation, sizes

__all__ = ["evaluated", "is_filled", "per_channel"]

#: Elements of the largest expression that is computed.
LARGEST = 2**16

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Div": np.divide,
    "Identity": np.positive,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
}


def evaluated(value: oir.Value | None) -> np.ndarray | None:
    """The elements of a constant or of an expression of constants; None if it is large or depends on anything else.

    A named constant is a weight, which files hold bit for bit: no expression may take its place.
    """
    return _evaluated(value, {})


def _evaluated(value: oir.Value | None, found: dict[oir.Value, np.ndarray | None]) -> np.ndarray | None:
    """See `evaluated`; ``found`` holds values that the expression has several times."""
    if value is None:
        return None
    if value not in found:
        found[value] = _computed(value, found)
    return found[value]


def _computed(value: oir.Value, found: dict[oir.Value, np.ndarray | None]) -> np.ndarray | None:
    if value.dtype not in FLOATS or value.shape is None:
        return None
    shape = [size for size in sizes(value) if isinstance(size, int)]
    if len(shape) != len(sizes(value)) or math.prod(shape) > LARGEST:
        return None
    elements = array(value)
    if elements is not None:
        return None if is_named(value) else elements.astype(np.float64)
    node = value.producer()
    if node is None or node.domain:
        return None
    if node.op_type in ("Expand", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
        operand = _evaluated(node.inputs[0], found)
        if operand is None:
            return None
        if node.op_type == "Transpose":
            return operand.transpose(permutation(node))
        return np.broadcast_to(operand, shape) if node.op_type == "Expand" else operand.reshape(shape)
    if node.op_type not in _FUNCTIONS:
        return None
    operands = [_evaluated(v, found) for v in inputs(node)]
    known = [v for v in operands if v is not None]
    with np.errstate(all="ignore"):
        return _FUNCTIONS[node.op_type](*known) if len(known) == len(operands) else None


def is_filled(value: oir.Value, test: Callable[[np.ndarray], bool]) -> bool:
    """Whether a value only repeats constants that pass a test."""
    elements = array(value)
    if elements is not None:
        return test(elements)
    node = value.producer()
    if node is None or node.domain or node.op_type not in ("Concat", "Expand", "Reshape", "Transpose", "Unsqueeze"):
        return False
    parts = inputs(node) if node.op_type == "Concat" else inputs(node)[:1]
    return all(is_filled(part, test) for part in parts)


def per_channel(value: oir.Value | None, like: list[int | str], axis: int) -> np.ndarray | None:
    """The numbers of a constant that are equal but for one axis of an array of this shape: one a channel, or only one.

    None if the value is no such constant, or if it would make the array larger.
    """
    elements = evaluated(value)
    if elements is None or elements.ndim > len(like):
        return None
    padded = elements.reshape((1,) * (len(like) - elements.ndim) + elements.shape)
    if padded.size != padded.shape[axis] or padded.shape[axis] not in (1, like[axis]):
        return None
    return padded.reshape(-1)
