"""Rewrites products of transposes as transposes of products."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import (
    inputs,
    is_swapped,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
    swapped,
)

__all__ = ["turn_products"]


def turn_products(graph: oir.Graph) -> int:
    """``aᵀ·bᵀ`` -> ``(b·a)ᵀ`` if that saves the transpose of b; those of a and of the result merge with others.

    Only for batched products: ``a·Wᵀ`` with a matrix W is faster as a Gemm. JAX writes probabilities times values in
    this form, and probabilities are the largest operand of all. ``(W·bᵀ)ᵀ`` with a matrix W -> ``b·Wᵀ``.
    """
    count = 0
    for node in list(graph):
        if node.op_type != "MatMul":
            continue
        a, b = inputs(node)
        swap = swapped(len(sizes(b)))
        turned, after = made_by(b, "Transpose"), only_use(node.outputs[0])
        if turned is None or not is_swapped(b) or only_use(b) is None or after is None or after.op_type != "Transpose":
            continue
        if len(sizes(a)) == 2 and permutation(after) == swap:
            matrix = new_value(graph, node, "Transpose", [a], sizes(a)[::-1], {"perm": [1, 0]})
            rows = new_value(graph, node, "MatMul", [inputs(turned)[0], matrix], sizes(after.outputs[0]))
            replace(graph, after.outputs[0], rows)
            count += 1
            continue
        if len(sizes(a)) != len(swap) or made_by(a, "Transpose") is None:
            continue
        shape = sizes(node.outputs[0])
        flipped = [shape[p] for p in swap]
        columns = new_value(graph, node, "Transpose", [a], [sizes(a)[p] for p in swap], {"perm": swap})
        product = new_value(graph, node, "MatMul", [inputs(turned)[0], columns], flipped)
        replace(graph, node.outputs[0], new_value(graph, node, "Transpose", [product], shape, {"perm": swap}))
        count += 1
    return count
