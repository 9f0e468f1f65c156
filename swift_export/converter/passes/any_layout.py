"""Ops that compute the same in any order of axes: which they are, and how they are written in another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, attribute, axes_of, constant_like, integers, new_value, sizes

__all__ = ["Layout", "in_layout", "inverse", "only_ones_move", "operands"]

#: An order of axes: axis i of a value is axis ``layout[i]`` of the same value in the layout.
Layout = tuple[int, ...]

_ELEMENTWISE = (
    "Abs Add And BiasGelu Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid "
    "Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Selu "
    "Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tan Tanh Where"
)
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
MOVES = frozenset({"Concat", "Expand", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"})


def inverse(layout: Sequence[int]) -> Layout:
    """The order that leads back."""
    return tuple(list(layout).index(axis) for axis in range(len(layout)))


def only_ones_move(shape: Sequence[int | str], order: Sequence[int]) -> bool:
    """Whether a Transpose moves only axes of size 1, like a Reshape."""
    kept = [axis for axis in order if shape[axis] != 1]
    return kept == sorted(kept)


def operands(node: oir.Node, rank: int) -> list[oir.Value] | None:
    """The operands of an op on values of this rank whose layout may change: not constants, and not single numbers.

    None if the op, as it is written here, wants its axes in order.
    """
    if node.domain or any(output.shape is None or len(sizes(output)) != rank for output in node.outputs):
        return None
    first = node.inputs[0] if node.inputs else None
    if node.op_type in ELEMENTWISE:
        given = [v for v in node.inputs if v is not None]
    elif node.op_type == "Concat":
        given = [v for v in node.inputs if v is not None]
        if any(len(sizes(v)) != rank for v in given):
            return None
    elif node.op_type in REDUCTIONS and attribute(node, "keepdims", 1) == 1 and first is not None:
        given = [first] if axes_of(node) is not None else []
    elif node.op_type == "Slice" and first is not None:
        given = [first] if len(node.inputs) > 3 and integers(node.inputs[3]) is not None else []
    elif node.op_type == "Pad" and first is not None:
        given = [first] if len(node.inputs) < 4 and integers(node.inputs[1]) is not None else []
    elif node.op_type == "Gather" and first is not None and len(node.inputs) > 1 and node.inputs[1] is not None:
        given = [first] if len(sizes(node.inputs[1])) == 1 else []
    elif node.op_type == "Split" and first is not None:
        given = [first]
    else:
        return None
    moving = [v for v in given if not (_is_single(v) or _is_constant(v))]
    if not moving or any(v.shape is None or len(sizes(v)) > rank for v in given):
        return None
    return moving if all(len(sizes(v)) == rank for v in moving) else None


def _is_constant(value: oir.Value, depth: int = 4) -> bool:
    """Whether a value is a constant, or of known size and computed from constants by few nodes: runtimes fold those."""
    if array(value) is not None:
        return True
    node = value.producer()
    if node is None or not depth or node.domain or not node.inputs or node.op_type not in MOVES | ELEMENTWISE:
        return False
    if value.shape is None or not all(isinstance(size, int) for size in sizes(value)):
        return False
    return all(v is not None and _is_constant(v, depth - 1) for v in node.inputs)


def _is_single(value: oir.Value) -> bool:
    return value.shape is not None and all(size == 1 for size in sizes(value))


def in_layout(graph: oir.Graph, node: oir.Node, layout: Layout, moved: dict[oir.Value, oir.Value]) -> list[oir.Value]:
    """The results of an op in another layout, written in front of it; ``moved`` has its operands in that layout."""
    back = inverse(layout)
    rank = len(layout)

    def turned(value: oir.Value | None) -> oir.Value | None:
        if value is None or value in moved:
            return moved[value] if value is not None else None
        return value if _is_single(value) else _constant(graph, node, value, back)

    given, attributes = list(node.inputs), dict(node.attributes)
    if node.op_type in ELEMENTWISE or node.op_type == "Concat":
        given = [turned(v) for v in given]
    else:
        given[0] = turned(given[0])
    if node.op_type in ("Concat", "Gather", "Split"):
        attributes["axis"] = oir.AttrInt64("axis", layout[attribute(node, "axis", 0) % rank])
    elif node.op_type == "Slice":
        axes = [layout[axis % rank] for axis in integers(given[3]) or []]
        given[3] = constant_like(graph, np.asarray(axes, np.int64))
    elif node.op_type == "Pad":
        widths = integers(given[1]) or []
        order = [*back, *(rank + axis for axis in back)]
        given[1] = constant_like(graph, np.asarray([widths[i] for i in order], np.int64))
    elif node.op_type in REDUCTIONS:
        axes = sorted(layout[axis] for axis in axes_of(node) or [])
        given[1] = constant_like(graph, np.asarray(axes, np.int64))
    outputs = [oir.val(None, v.dtype, [sizes(v)[axis] for axis in back]) for v in node.outputs]
    properties = dict(node.metadata_props)
    graph.insert_before(node, oir.node(node.op_type, given, attributes, outputs=outputs, metadata_props=properties))
    return outputs


def _constant(graph: oir.Graph, before: oir.Node, value: oir.Value, order: Layout) -> oir.Value:
    """A constant with all axes, in another order."""
    aligned = [*[1] * (len(order) - len(sizes(value))), *sizes(value)]
    shape = [aligned[axis] for axis in order]
    if only_ones_move(aligned, order):
        return _reshaped(graph, before, value, shape)
    if aligned != sizes(value):
        value = _reshaped(graph, before, value, aligned)
    return new_value(graph, before, "Transpose", [value], shape, {"perm": list(order)})


def _reshaped(graph: oir.Graph, before: oir.Node, value: oir.Value, shape: Sequence[int | str]) -> oir.Value:
    target = constant_like(graph, np.asarray(shape, np.int64))
    return new_value(graph, before, "Reshape", [value, target], shape)
