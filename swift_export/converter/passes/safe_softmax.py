"""Removes from softmax, as PyTorch writes it, what changes nothing: an added 0, a choice for rows that do not occur."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.magnitudes import below, largest
from swift_export.converter.passes.match import (
    array,
    attribute,
    axes_of,
    either,
    inputs,
    made_by,
    only_use,
    replace,
    scalar,
    sizes,
)

__all__ = ["drop_safety_of_softmax"]


def drop_safety_of_softmax(graph: oir.Graph) -> int:
    """``Where(all(x == -inf), 0, Softmax(x))`` -> ``Softmax(x)`` if an element of each row of x is bounded or NaN.

    ``Softmax(x + 0)`` -> ``Softmax(x)``: exponentials do not tell zeros apart.
    """
    count = 0
    for node in list(graph):
        shifted = made_by(node.inputs[0], "Add") if node.op_type == "Softmax" else None
        for x, other in either(shifted) if shifted is not None else ():
            if scalar(other) == 0 and sizes(x) == sizes(inputs(node)[0]) and only_use(inputs(node)[0]) is node:
                node.replace_input_with(0, x)
                count += 1
                break
        if node.op_type != "Where" or node.domain:
            continue
        empty, zero, probabilities = inputs(node)
        softmax = made_by(probabilities, "Softmax")
        if softmax is None or scalar(zero) != 0:
            continue
        (x,) = inputs(softmax)
        last = len(sizes(x)) - 1
        if attribute(softmax, "axis", -1) % (last + 1) == last and _are_infinite(empty, x) and _has_bounded(x):
            replace(graph, node.outputs[0], probabilities)
            count += 1
    return count


def _are_infinite(rows: oir.Value, x: oir.Value) -> bool:
    """Whether a value says of each row of x, with the row's axis kept, whether all its elements are -inf."""
    reduced, negated = _plain(rows)
    reduction = made_by(reduced, "ReduceMax" if negated else "ReduceMin")
    if reduction is None or axes_of(reduction) != [len(sizes(x)) - 1] or sizes(rows) != [*sizes(x)[:-1], 1]:
        return False
    compared, again = _plain(inputs(reduction)[0])
    equal = made_by(compared, "Equal")
    return equal is not None and again == negated and any(a is x and scalar(b) == -math.inf for a, b in either(equal))


def _plain(value: oir.Value) -> tuple[oir.Value, bool]:
    """A truth value before its negations, conversions and new axes; whether it is negated."""
    negated = False
    while (node := made_by(value, "Not", "Cast", "Unsqueeze", "Identity")) is not None:
        negated ^= node.op_type == "Not"
        value = inputs(node)[0]
    return value, negated


def _has_bounded(x: oir.Value) -> bool:
    """Whether each row of x, along the last axis, has an element that is bounded or NaN."""
    if math.isfinite(largest(x)):
        return True
    node = made_by(x, "Add", "Where")
    if node is None:
        return False
    if node.op_type == "Add":
        masks = ((a, array(b)) for a, b in either(node))
        return any(mask is not None and _reaches(mask, x) and _open(mask, largest(a), a) for a, mask in masks)
    choice, *values = inputs(node)
    chosen = array(choice)
    if chosen is None or not _reaches(chosen, x):
        return False
    bounded = [math.isfinite(largest(value)) for value in values]
    return bool(np.all(np.any((chosen & bounded[0]) | (~chosen & bounded[1]), axis=-1)))


def _reaches(mask: np.ndarray, x: oir.Value) -> bool:
    """Whether the mask's last axis is that of x."""
    return bool(mask.ndim) and mask.shape[-1] in (1, sizes(x)[-1]) and bool(mask.size)


def _open(mask: np.ndarray, bound: float, scores: oir.Value) -> bool:
    """Whether each row of a mask that is added to bounded scores has an element that leaves them bounded."""
    assert scores.dtype is not None
    return math.isfinite(bound) and bool(np.all(np.any(np.abs(mask) <= below(scores.dtype), axis=-1)))
