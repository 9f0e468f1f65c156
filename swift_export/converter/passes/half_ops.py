"""Puts ops that runtimes compute in float32 inside on the 16-bit floats between which the program widens them."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.builder import SHORT
from swift_export.converter.kernels import has_kernel
from swift_export.converter.passes.match import inputs, made_by, new_value, replace, sizes

__all__ = ["narrow_ops", "widened_from"]

#: Kernels of 16 bits sum and exponentiate in float32, and round once.
INSIDE = ("Gelu", "LogSoftmax", "Softmax")
#: Ops whose results are elements of their operands.
CHOICES = ("Max", "Min")


def narrow_ops(graph: oir.Graph) -> int:
    """``Cast(Softmax(Cast(x)))`` with x of 16 bits, widened and rounded again -> ``Softmax(x)``; also for Gelu.

    On a CPU without such a kernel, ONNX Runtime inserts the same two conversions. ``Max(Cast(a), Cast(b))`` ->
    ``Cast(Max(a, b))``.
    """
    count = 0
    for node in list(graph):
        if node.domain or not (node.op_type in INSIDE or node.op_type in CHOICES):
            continue
        operands = [widened_from(value) for value in inputs(node)]
        dtype = operands[0].dtype if operands and operands[0] is not None else None
        found = [value for value in operands if value is not None and value.dtype == dtype]
        if dtype is None or len(found) < len(operands) or not has_kernel(node.op_type, dtype, native=True):
            continue
        output, attributes = node.outputs[0], dict(node.attributes)
        if node.op_type in CHOICES:
            narrow = new_value(graph, node, node.op_type, found, sizes(output), attributes)
            to = {"to": oir.DataType.FLOAT.value}
            replace(graph, output, new_value(graph, node, "Cast", [narrow], sizes(output), to, dtype=output.dtype))
            count += 1
        elif (roundings := _roundings(output, dtype)) is not None:
            narrow = new_value(graph, node, node.op_type, found, sizes(output), attributes)
            for rounding in roundings:
                replace(graph, rounding, narrow)
            count += 1
    return count


def widened_from(value: oir.Value) -> oir.Value | None:
    """The value of 16 bits from which a float32 was converted."""
    cast = made_by(value, "Cast")
    narrow = inputs(cast)[0] if cast is not None and value.dtype == oir.DataType.FLOAT else None
    return narrow if narrow is not None and narrow.dtype in SHORT else None


def _roundings(value: oir.Value, dtype: oir.DataType) -> list[oir.Value] | None:
    """The values of this type to which all users convert a value, none of them an output."""
    users = list(dict.fromkeys(value.consumers()))
    results = [user.outputs[0] for user in users if user.op_type == "Cast" and user.graph is value.graph]
    converted = all(result.dtype == dtype and not result.is_graph_output() for result in results)
    return results if results and converted and len(results) == len(users) and not value.is_graph_output() else None
