"""Merges chains of Transpose and Reshape."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    can_replace,
    constant_like,
    inputs,
    integers,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
)

__all__ = ["mends", "merge_reshapes", "merge_transposes", "reshape_target", "sink_reshapes"]

#: Ops of one operand that treat every element alike.
POINTWISE = ("Gelu", "Erf", "Tanh", "Sigmoid", "Relu", "Exp", "Sqrt", "Neg", "Abs", "Log", "Reciprocal")


def reshape_target(shape: list[int | str]) -> np.ndarray | None:
    """The constant operand of a Reshape to this shape, if that has at most one unknown size and no empty axis."""
    unknown = [s for s in shape if not isinstance(s, int)]
    if len(unknown) > 1 or 0 in shape:
        return None
    return np.asarray([s if isinstance(s, int) else -1 for s in shape], np.int64)


def mends(node: oir.Node) -> bool:
    """Whether a node is a Reshape to the same sizes that mends the shape of an empty array."""
    same = node.op_type == "Reshape" and sizes(inputs(node)[0]) == sizes(node.outputs[0])
    return same and "allowzero" in node.attributes


def merge_transposes(graph: oir.Graph) -> int:
    """Merge two transposes in a row; remove an identity."""
    count = 0
    for node in list(graph):
        if node.op_type != "Transpose":
            continue
        (x,) = inputs(node)
        perm = permutation(node)
        first = made_by(x, "Transpose")
        if first is not None:
            source, inner = inputs(first)[0], permutation(first)
            merged = {"perm": [inner[p] for p in perm]}
            replace(
                graph, node.outputs[0], new_value(graph, node, "Transpose", [source], sizes(node.outputs[0]), merged)
            )
        elif perm == sorted(perm) and can_replace(node.outputs[0], x):
            replace(graph, node.outputs[0], x)
        else:
            continue
        count += 1
    return count


def merge_reshapes(graph: oir.Graph) -> int:
    """Keep only the last of several reshapes in a row; remove an identity."""
    count = 0
    for node in list(graph):
        if node.op_type not in ("Reshape", "Unsqueeze"):
            continue
        x, output = inputs(node)[0], node.outputs[0]
        if sizes(x) == sizes(output) and not mends(node) and can_replace(output, x):
            replace(graph, output, x)
            count += 1
            continue
        first = made_by(x, "Reshape", "Unsqueeze")
        target = reshape_target(sizes(output))
        if first is None or target is None:
            continue
        operands = [inputs(first)[0], constant_like(graph, target)]
        replace(graph, output, new_value(graph, node, "Reshape", operands, sizes(output)))
        count += 1
    return count


def sink_reshapes(graph: oir.Graph) -> int:
    """``f(Reshape(x))`` -> ``Reshape(f(x))`` for pointwise f, so that reshapes meet and merge."""
    count = 0
    for node in list(graph):
        if node.op_type not in (*POINTWISE, "BiasGelu"):
            continue
        y, *bias = inputs(node)
        reshape = made_by(y, "Reshape")
        if reshape is None or only_use(y) is None or integers(reshape.inputs[1]) is None:
            continue
        x, target = inputs(reshape)
        # A bias has the size of the last axis.
        if bias and sizes(x)[-1:] != sizes(y)[-1:]:
            continue
        attributes = dict(node.attributes)
        moved = new_value(graph, node, node.op_type, [x, *bias], sizes(x), attributes, domain=node.domain)
        replace(graph, node.outputs[0], new_value(graph, node, "Reshape", [moved, target], sizes(y)))
        count += 1
    return count
