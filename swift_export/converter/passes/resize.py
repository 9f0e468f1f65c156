"""Reads constant indices, and fuses Resize from gathers that repeat each place of an axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.fold import results
from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    inputs,
    is_named,
    made_by,
    new_value,
    only_use,
    replace,
    sizes,
)

__all__ = ["fold_indices", "fuse_resize"]

#: Ops of which indices are computed; each has one exact result on small integers, and on floats that are near them.
_EXACT = (
    "Abs Add And Cast Ceil Clip Div Equal Expand Floor Greater GreaterOrEqual Less LessOrEqual Max Min Mul Neg Not Or "
    "Range Reshape Squeeze Sub Unsqueeze Where"
)
EXACT = frozenset(_EXACT.split())
#: The most indices, and what is above all numbers that are converted on the way to them.
MOST, LARGEST = 2**12, 2**31


def fold_indices(graph: oir.Graph) -> int:
    """A Gather by one index for each place, computed of constants -> by a constant."""
    count = 0
    for node in graph:
        index = node.inputs[1] if node.op_type == "Gather" and not node.domain else None
        if index is None or index.shape is None or len(sizes(index)) != 1 or array(index) is not None:
            continue
        found = _computed(index)
        if found is not None and found.dtype in (np.int32, np.int64):
            node.replace_input_with(1, constant_like(graph, found))
            count += 1
    return count


def _computed(value: oir.Value) -> np.ndarray | None:
    """The elements of an expression of constants."""
    elements = array(value)
    if elements is None:
        node = value.producer()
        if node is None or node.domain or node.op_type not in EXACT or value.shape is None:
            return None
        operands = [_computed(v) for v in inputs(node)]
        known = [v for v in operands if v is not None]
        if len(known) < len(operands) or len(operands) < len(node.inputs):
            return None
        # Runtimes differ on casts of larger ones.
        if node.op_type == "Cast" and not np.all(np.abs(known[0].astype(np.float64)) < LARGEST):
            return None
        (elements,) = results(node, known)
    named = value.is_initializer() and is_named(value)
    return elements if elements.size <= MOST and not named else None


def fuse_resize(graph: oir.Graph) -> int:
    """Gathers that take each place 2, 4 or 8 times, along spatial axes -> Resize to the nearest place."""
    count = 0
    for node in list(graph):
        times = _repeats(node)
        if node.graph is None or times is None:
            continue
        axis, factor = times
        x, output = inputs(node)[0], node.outputs[0]
        scales = np.ones(len(sizes(x)), np.float32)
        scales[axis] = factor
        before = made_by(x, "Resize")
        if before is not None and only_use(x) is node and (more := _scales(before)) is not None:
            x, scales = inputs(before)[0], scales * more
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        none = constant_like(graph, np.zeros(0, np.float32))
        new = new_value(graph, node, "Resize", [x, none, constant_like(graph, scales)], sizes(output), modes)
        replace(graph, output, new)
        count += 1
    return count


def _repeats(node: oir.Node) -> tuple[int, int] | None:
    """The axis of which a Gather takes each place several times, and how often, if Resize gives the same."""
    if node.op_type != "Gather" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
        return None
    x, index = inputs(node)
    places, shape = array(index), sizes(x)
    axis = attribute(node, "axis", 0) % len(shape)
    length = shape[axis]
    if places is None or len(sizes(index)) != 1 or not isinstance(length, int) or axis < 2 or length == 0:
        return None
    if len(shape) > 4:
        return None  # ONNX Runtime gathers volumes faster.
    factor = len(places) // length
    # Quotients by powers of two are exact.
    exact = factor in (2, 4, 8) and np.array_equal(places, np.arange(length * factor) // factor)
    return (axis, factor) if exact else None


def _scales(node: oir.Node) -> np.ndarray | None:
    mode = node.attributes.get("nearest_mode")
    ours = len(node.inputs) == 3 and mode is not None and mode.as_string() == "floor"
    return array(node.inputs[2]) if ours else None
