"""Keeps chains of ops on 16-bit floats in the float32 in which ONNX Runtime computes each."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.builder import LOOSE, SHORT
from swift_export.converter.passes.match import FLOATS, inputs, made_by, new_value, replace, sizes

__all__ = ["drop_roundings", "rounding_of", "unrounded"]

DataType = oir.DataType

#: Key of a value's ``meta`` that holds the type to which the program rounds it.
ROUNDED = "rounded"

#: Ops that only move elements, of a first operand or of all.
MOVES = frozenset({"Concat", "Expand", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
#: Ops whose result may jump where an operand moves by a rounding: that operand stays as the program has it.
JUMPS = frozenset(
    {"ArgMax", "ArgMin", "BitCast", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
    | {"Mod", "Round", "Sign", "TopK"}
)


def drop_roundings(graph: oir.Graph) -> int:
    """An op's result rounded to 16 bits and widened again for all of its users -> the result in float32.

    Not where the program itself converts to 16 bits, nor where a user compares, counts or rounds. XLA leaves out such
    roundings as well, and those of conversions too.
    """
    count = 0
    for node in list(graph):
        if node.op_type == "Cast" and LOOSE in node.meta and node.outputs[0].dtype in SHORT:
            wide = inputs(node)[0]
            if wide.dtype == DataType.FLOAT and node.outputs[0].uses() and _is_loose(node.outputs[0]):
                _widen(node.outputs[0], wide)
                count += 1
    return count


def rounding_of(value: oir.Value) -> oir.DataType | None:
    """The type of a value's digits: of 16 bits if it comes from one, or the program rounds it to one."""
    node = value.producer()
    if node is not None and node.op_type == "Cast" and inputs(node)[0].dtype in SHORT:
        return inputs(node)[0].dtype
    rounded = value.meta.get(ROUNDED)
    return rounded if isinstance(rounded, DataType) else value.dtype


def unrounded(value: oir.Value) -> oir.Value:
    """A value before it is converted between floats of 16 and 32 bits."""
    cast = made_by(value, "Cast")
    if cast is None or value.dtype not in (*SHORT, DataType.FLOAT):
        return value
    before = inputs(cast)[0]
    return unrounded(before) if before.dtype in (*SHORT, DataType.FLOAT) else value


def _is_loose(value: oir.Value) -> bool:
    """Whether no user sees that a 16-bit value is not rounded, through moves too."""
    return not value.is_graph_output() and all(
        _jumps_nowhere(user) if _is_widening(user) else _moves(user) and all(map(_is_loose, user.outputs))
        for user in value.consumers()
    )


def _is_widening(node: oir.Node) -> bool:
    return node.op_type == "Cast" and node.outputs[0].dtype == DataType.FLOAT


def _jumps_nowhere(widening: oir.Node) -> bool:
    wide = widening.outputs[0]
    return not wide.is_graph_output() and not any(map(_jumps, wide.consumers()))


def _jumps(user: oir.Node) -> bool:
    return user.op_type in JUMPS or (user.op_type == "Cast" and user.outputs[0].dtype not in FLOATS)


def _moves(node: oir.Node) -> bool:
    return node.op_type in MOVES and not node.domain


def _widen(value: oir.Value, wide: oir.Value) -> None:
    """Give all users of a 16-bit value the float32 that it stands for."""
    wide.meta.setdefault(ROUNDED, value.dtype)
    for user in dict.fromkeys(value.consumers()):
        graph = user.graph
        assert isinstance(graph, oir.Graph)
        if _is_widening(user):
            replace(graph, user.outputs[0], wide)
            continue
        for i, operand in enumerate(user.inputs):
            if operand is value:
                user.replace_input_with(i, wide)
            elif operand is not None and operand.dtype in SHORT:
                user.replace_input_with(i, _widened(graph, user, operand))
        for output in user.outputs:
            kind, output.dtype = output.dtype, DataType.FLOAT
            output.meta.setdefault(ROUNDED, kind)
            _widen(output, output)


def _widened(graph: oir.Graph, user: oir.Node, value: oir.Value) -> oir.Value:
    to = {"to": DataType.FLOAT.value}
    return new_value(graph, user, "Cast", [value], sizes(value), to, dtype=DataType.FLOAT)
