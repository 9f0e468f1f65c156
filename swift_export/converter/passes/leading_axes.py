"""Drops axes of size 1 in front of an operand that broadcasting adds again, as of a bias of shape (1, 1, n)."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import array, constant_like, inputs, is_named, made_by, sizes

__all__ = ["drop_leading_axes"]

#: Ops that broadcast their operands.
BROADCASTING = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or"}
    | {"Pow", "Sub", "Where", "Xor"}
)
#: Bytes of the largest constant that the file may hold in two shapes.
LARGEST = 2**12


def drop_leading_axes(graph: oir.Graph) -> int:
    """A constant of shape (1, ..., n) -> (n), and a reshape to such a shape -> its operand, if another operand has all
    axes of the result. ONNX Runtime adds only vectors in its own fusions with Gelu and norms.
    """
    count = 0
    for node in list(graph):
        if node.op_type not in BROADCASTING or node.domain:
            continue
        rank = len(sizes(node.outputs[0]))
        for index, value in enumerate(node.inputs):
            whole = any(len(sizes(other)) == rank for other in inputs(node) if other is not value)
            short = _short(graph, value) if value is not None and whole else None
            if short is not None:
                node.replace_input_with(index, short)
                count += 1
    return count


def _short(graph: oir.Graph, value: oir.Value) -> oir.Value | None:
    """The same elements without the first axes of size 1; None if there are none, or another op would be needed."""
    shape = sizes(value)
    kept = next((shape[axis:] for axis, size in enumerate(shape) if size != 1), [])
    if kept == shape:
        return None
    move = made_by(value, "Reshape", "Unsqueeze")
    if move is not None:
        return inputs(move)[0] if sizes(inputs(move)[0]) == kept else None
    elements = array(value)
    if elements is None or is_named(value) or (elements.nbytes > LARGEST and len(list(value.uses())) > 1):
        return None
    return constant_like(graph, elements.reshape([int(size) for size in kept]))
