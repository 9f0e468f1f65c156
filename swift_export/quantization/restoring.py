"""Reads a file with integer weights as the float32 graph that it was made from, with rounded weights.

Graph readers then need not know integers, and every weight can be compared with the model's: it differs by at most half
a step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from onnx_ir.passes import common

from swift_export.errors import ArtifactError
from swift_export.quantization.integer_graph import BLOCK, TURNED
from swift_export.quantization.levels import Levels, unpack
from swift_export.quantization.products import CUSTOM
from swift_export.quantization.record import BITS

__all__ = ["Rounded", "restore"]

#: The arithmetic of float32 moves a number by this much of its step, which is divided by and multiplied with.
_SLACK = 1e-3
_HALF = 0.5 + _SLACK

#: The names of integer weights.
_INTEGERS = re.compile(rf"(?P<name>.+?)(?P<turned>{re.escape(TURNED)})?\.int[48]")


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight read from integers, in the layout of the model, and the step of each of its elements."""

    numbers: np.ndarray
    steps: np.ndarray
    bits: int

    def is_of(self, weight: np.ndarray) -> bool:
        """Whether rounding ``weight`` gives these numbers: within half a step, with no step larger than it takes."""
        if weight.shape != self.numbers.shape:
            return False
        largest = np.abs(weight).max(initial=0) / (2 ** (self.bits - 1) - 1)
        tiny = np.finfo(np.float32).tiny
        steps = np.abs(self.steps)
        near = np.abs(weight - self.numbers) <= steps * _HALF + tiny
        return bool(near.all() and (steps <= largest * (1 + _SLACK) + tiny).all())


def restore(model: oir.Model) -> dict[str, Rounded]:
    """Replace integer weights in a graph by float32 ones, in place; return them by their name in the model.

    Raises ArtifactError for integer weights in another form than `integer_products` writes.
    """
    found: dict[str, Rounded] = {}
    for node in list(model.graph):
        try:
            if node.op_type == "DequantizeLinear":
                _restore_operand(model.graph, node, found)
            elif node.op_type == "MatMulNBits" and node.domain == CUSTOM:
                _restore_blocks(model.graph, node, found)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtifactError(f"{node.name}: expected integer weights of an export, found others ({error})") from None
    common.RemoveUnusedNodesPass()(model)
    return found


def _restore_operand(graph: oir.Graph, node: oir.Node, found: dict[str, Rounded]) -> None:
    value = node.inputs[0]
    rounding = None if value is None else value.producer()
    if rounding is not None:  # of an activation
        whole = rounding.inputs[0]
        if rounding.op_type != "QuantizeLinear" or whole is None or list(rounding.inputs[1:]) != list(node.inputs[1:]):
            raise ValueError("an activation with two different steps")
        node.outputs[0].replace_all_uses_with(whole, replace_graph_outputs=True)
        return
    integers, steps = _array(value), _array(node.inputs[1])
    if integers.dtype != np.int8 or integers.ndim != 2 or _array(node.inputs[2]).any():
        raise ValueError(f"{integers.dtype} of {integers.ndim} dimensions")
    rows = node.attributes["axis"].as_int() == 0
    levels = Levels(integers if rows else integers.T, steps)
    name, turned = _named(value)
    weight = _weight(graph, name, levels.numbers, levels.spread, rows != turned, 8, found)
    for user, place in list(node.outputs[0].uses()):
        if not turned:
            user.replace_input_with(place, weight)
        else:
            _replace(graph, user, "FusedMatMul", [user.inputs[0], weight], CUSTOM, transB=1)


def _restore_blocks(graph: oir.Graph, node: oir.Node, found: dict[str, Rounded]) -> None:
    bits, block, inner = (node.attributes[name].as_int() for name in ("bits", "block_size", "K"))
    if bits not in BITS.values() or block != BLOCK or len(node.inputs) > 3:
        raise ValueError(f"blocks of {block} weights of {bits} bits with {len(node.inputs)} operands")
    steps = _array(node.inputs[2])
    levels = Levels(unpack(_array(node.inputs[1]), bits), steps.reshape(node.attributes["N"].as_int(), -1))
    name, turned = _named(node.inputs[1])
    whole = [array.reshape(len(levels.steps), -1)[:, :inner] for array in (levels.numbers, levels.spread)]
    weight = _weight(graph, name, whole[0], whole[1], not turned, bits, found)
    if turned:
        _replace(graph, node, "MatMul", [node.inputs[0], weight], "")
    else:
        _replace(graph, node, "FusedMatMul", [node.inputs[0], weight], CUSTOM, transB=1)


def _named(value: oir.Value | None) -> tuple[str, bool]:
    """The name of a weight in the model, and whether it is stored transposed."""
    match = None if value is None else _INTEGERS.fullmatch(str(value.name))
    if match is None:
        raise ValueError("another name of its weight")
    return match["name"], match["turned"] is not None


def _weight(
    graph: oir.Graph,
    name: str,
    numbers: np.ndarray,
    steps: np.ndarray,
    rows: bool,
    bits: int,
    found: dict[str, Rounded],
) -> oir.Value:
    """The float32 weight, from numbers with output channels as rows; ``rows`` says whether the model has these, too."""
    if not rows:
        numbers, steps = numbers.T, steps.T
    # Products in float32 may use the weight of this name, too.
    label = f"{name}.restored"
    if name not in found:
        found[name] = Rounded(numbers, steps, bits)
        tensor = oir.tensor(np.ascontiguousarray(numbers), name=label)
        shape = oir.Shape(numbers.shape)
        graph.register_initializer(
            oir.Value(name=label, shape=shape, type=oir.TensorType(tensor.dtype), const_value=tensor)
        )
    return graph.initializers[label]


def _array(value: oir.Value | None) -> np.ndarray:
    return value.const_value.numpy()  # type: ignore[union-attr] # the caller reports what is no constant


def _replace(
    graph: oir.Graph, node: oir.Node, op_type: str, inputs: list[oir.Value | None], domain: str, **settings: int
) -> None:
    (output,) = node.outputs
    made = oir.Value(name=output.name, shape=output.shape, type=output.type)
    output.name = None
    graph.insert_before(
        node,
        oir.node(op_type, inputs, settings, domain=domain, outputs=[made], name=node.name),
    )
    output.replace_all_uses_with(made, replace_graph_outputs=True)
    graph.remove(node, safe=True)
