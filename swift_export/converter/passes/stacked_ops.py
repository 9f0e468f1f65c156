"""The ops of a loop's body as ops on the arrays of all steps, one rule a kind of op."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    attribute,
    constant_like,
    flattened,
    inputs,
    integers,
    made_by,
    permutation,
    sizes,
)
from swift_export.converter.passes.stacks import Make, Stacks

__all__ = ["consider"]

#: Gives how a node's arrays are made, or None if they cannot be.
Rule = Callable[[Stacks, oir.Node], Make | None]

#: Ops that treat every element alike, with operands broadcast to the result.
ELEMENTWISE = (
    *(
        "Abs",
        "Add",
        "And",
        "BitCast",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "Cast",
        "Ceil",
        "Clip",
        "Cos",
    ),
    *("Div", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN"),
    *("Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu"),
    *("Round", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Sub", "Tanh", "Where", "Xor"),
)
#: Ops of one array along the axis of an attribute, which has a default; other operands are equal in all steps.
ALONG_AXIS = {
    "ArgMax": 0,
    "ArgMin": 0,
    "LayerNormalization": -1,
    "RMSNormalization": -1,
    "Softmax": -1,
    "Split": 0,
    "TopK": -1,
}
REDUCTIONS = ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")


def consider(stacks: Stacks, node: oir.Node) -> bool:
    """Add a node to the stacks if its outputs have arrays; whether they do. Those before it have been considered."""
    own = [value for value in inputs(node) if stacks.varies(value)]
    rule = RULES.get(node.op_type) if not node.domain else None
    if rule is None or not own or not all(map(stacks.has, own)):
        return False
    make = rule(stacks, node)
    if make is not None:
        stacks.add(node, make)
    return make is not None


def _rank(value: oir.Value | None) -> int:
    assert value is not None
    return len(sizes(value))


def _only_first_varies(stacks: Stacks, node: oir.Node) -> bool:
    return stacks.varies(node.inputs[0]) and not any(map(stacks.varies, node.inputs[1:]))


def _elementwise(stacks: Stacks, node: oir.Node) -> Make:
    rank = _rank(node.outputs[0])

    def raised(value: oir.Value | None) -> oir.Value | None:
        return stacks.raised(value, rank) if value is not None and stacks.varies(value) else value

    return lambda: stacks.like(node, [raised(value) for value in node.inputs])


def _along_axis(stacks: Stacks, node: oir.Node) -> Make | None:
    if not _only_first_varies(stacks, node):
        return None
    axis = attribute(node, "axis", ALONG_AXIS[node.op_type]) % _rank(node.inputs[0]) + 1
    return lambda: stacks.like(node, [stacks.of(node.inputs[0]), *node.inputs[1:]], {"axis": axis})


def _along_axes(stacks: Stacks, node: oir.Node, *, of_result: bool = False) -> Make | None:
    """Axes in the second operand; without it, all axes of a reduction."""
    rank = _rank(node.outputs[0] if of_result else node.inputs[0])
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = list(range(rank)) if given is None else integers(given)
    if axes is None or not _only_first_varies(stacks, node) or attribute(node, "noop_with_empty_axes", 0):
        return None
    behind = np.asarray([axis % rank + 1 for axis in axes], np.int64)
    if given is not None and not sizes(given):
        behind = behind.reshape(())
    return lambda: stacks.like(node, [stacks.of(node.inputs[0]), constant_like(stacks.graph, behind)])


def _squeeze(stacks: Stacks, node: oir.Node) -> Make | None:
    return _along_axes(stacks, node) if len(node.inputs) > 1 else None


def _transpose(stacks: Stacks, node: oir.Node) -> Make:
    perm = [0, *(axis + 1 for axis in permutation(node))]
    return lambda: stacks.like(node, [stacks.of(node.inputs[0])], {"perm": perm})


def _reshape(stacks: Stacks, node: oir.Node) -> Make | None:
    """A Reshape takes the number of steps from the array: a target of 0 copies a size."""
    shape = sizes(node.outputs[0])
    before = sizes(inputs(node)[0])
    copied = [0 if i < len(before) and before[i] == size else size for i, size in enumerate(shape)]
    unknown = [i for i, size in enumerate(copied) if not isinstance(size, int)]
    if node.attributes.get("allowzero") or 0 in shape or 0 in before or not _only_first_varies(stacks, node):
        return None
    # Of an array without steps no size can be inferred.
    if len(unknown) > 1 or (unknown and not isinstance(stacks.count, int)):
        return None
    target = stacks.vector([0, *(size if isinstance(size, int) else -1 for size in copied)])
    return lambda: stacks.like(node, [stacks.of(node.inputs[0]), target])


def _expand(stacks: Stacks, node: oir.Node) -> Make | None:
    value, shape = inputs(node)
    if not _only_first_varies(stacks, node):
        return None

    def make() -> list[oir.Value]:
        (length,) = sizes(shape)
        assert isinstance(length, int)
        behind = stacks.one("Concat", [stacks.vector([1]), shape], [length + 1], axis=0)
        return stacks.like(node, [stacks.raised(value, _rank(node.outputs[0])), behind])

    return make


def _concat(stacks: Stacks, node: oir.Node) -> Make:
    """Parts that are equal in all steps are repeated."""
    axis = attribute(node, "axis", 0) % _rank(node.outputs[0])

    def part(value: oir.Value) -> oir.Value:
        if stacks.varies(value):
            return stacks.of(value)
        ones = stacks.vector([1] * _rank(value))
        shape = stacks.one("Concat", [stacks.length(), ones], [_rank(value) + 1], axis=0)
        return stacks.one("Expand", [value, shape], stacks.shape(value))

    return lambda: stacks.like(node, [part(value) for value in inputs(node)], {"axis": axis + 1})


def _slice(stacks: Stacks, node: oir.Node) -> Make | None:
    axes = integers(node.inputs[3]) if len(node.inputs) > 3 else None
    if axes is not None and len(axes) == 1 and not stacks.varies(node.inputs[0]):
        return _window(stacks, node, axes[0] % _rank(node.inputs[0]))
    if axes is None or not _only_first_varies(stacks, node):
        return None
    behind = stacks.vector([axis % _rank(node.inputs[0]) + 1 for axis in axes])
    return lambda: stacks.like(node, [stacks.of(node.inputs[0]), *node.inputs[1:3], behind, *node.inputs[4:]])


def _window(stacks: Stacks, node: oir.Node, axis: int) -> Make | None:
    """As many elements in each step, from a computed place inside on: they are gathered."""
    data, start, end, *rest = inputs(node)
    span = made_by(end, "Add")
    length = sizes(node.outputs[0])[axis]
    spans = [integers(span.inputs[1 - i]) for i, v in enumerate(span.inputs) if v is start] if span is not None else []
    if spans != [[length]] or not isinstance(length, int) or not stacks.varies(start):
        return None
    if len(rest) > 1 and integers(rest[1]) != [1]:
        return None

    def make() -> list[oir.Value]:
        shape = [stacks.count, length]
        places = stacks.one("Add", [stacks.of(start), stacks.vector(range(length))], shape)
        return [stacks.gathered(data, places, axis)]

    return make


def _pad(stacks: Stacks, node: oir.Node) -> Make | None:
    widths = integers(node.inputs[1])
    if widths is None or len(node.inputs) > 3 or not _only_first_varies(stacks, node):
        return None
    half = len(widths) // 2
    whole = stacks.vector([0, *widths[:half], 0, *widths[half:]])
    return lambda: stacks.like(node, [stacks.of(node.inputs[0]), whole, *node.inputs[2:]])


def _gather(stacks: Stacks, node: oir.Node) -> Make | None:
    """Rows of an array from outside, or the same elements of each row."""
    data, index = inputs(node)
    axis = attribute(node, "axis", 0) % _rank(data)
    if not stacks.varies(index):
        return lambda: stacks.like(node, [stacks.of(data), index], {"axis": axis + 1})
    if stacks.varies(data):
        return None

    def make() -> list[oir.Value]:
        rows = stacks.rows(data, axis, index)
        return [stacks.gathered(data, stacks.of(index), axis) if rows is None else rows]

    return make


def _product(stacks: Stacks, node: oir.Node) -> Make | None:
    """Matrices are stacked; a vector on the left becomes a row, if the right is equal in all steps."""
    left, right = inputs(node)
    ranks = _rank(left), _rank(right)
    if min(ranks) < 2:
        ready = ranks == (1, 2) and not stacks.varies(right)
        return (lambda: stacks.like(node, [stacks.of(left), right])) if ready else None

    # ONNX Runtime does not broadcast a left matrix to a transposed right array without matrices.
    if not isinstance(stacks.count, int) and not stacks.varies(left):
        return None

    def operand(value: oir.Value) -> oir.Value:
        return stacks.raised(value, max(ranks)) if stacks.varies(value) else value

    return lambda: stacks.like(node, [operand(left), operand(right)])


def _gemm(stacks: Stacks, node: oir.Node) -> Make | None:
    """One product of the rows of all steps, which take a bias of one row."""
    rows, matrix, *bias = inputs(node)
    units, plain = sizes(node.outputs[0])[1], not attribute(node, "transA", 0)
    depth = sizes(rows)[1]
    if not plain or not isinstance(units, int) or not isinstance(depth, int) or not _only_first_varies(stacks, node):
        return None
    if any(len(sizes(v)) == 2 and sizes(v)[0] != 1 for v in bias) or not (units and depth):
        return None
    height = sizes(rows)[0]
    if not isinstance(height, int) and not isinstance(stacks.count, int):
        return None
    # Only one size of a shape can be inferred, and none from no elements.
    back = [stacks.count if isinstance(stacks.count, int) else -1, height if isinstance(height, int) else -1, units]
    long = flattened([stacks.count, height])
    if long is None:
        return None

    def make() -> list[oir.Value]:
        flat = stacks.one("Reshape", [stacks.of(rows), stacks.vector([-1, depth])], [long, depth])
        (product,) = stacks.insert(
            node, "Gemm", [flat, matrix, *bias], [(rows.dtype, [long, units])], dict(node.attributes)
        )
        return [stacks.one("Reshape", [product, stacks.vector(back)], stacks.shape(node.outputs[0]))]

    return make


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(ALONG_AXIS, _along_axis),
    **dict.fromkeys((*REDUCTIONS, "CumSum"), _along_axes),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _product,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": partial(_along_axes, of_result=True),
}
