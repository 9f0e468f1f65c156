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

__all__ = ["turn_products", "turn_rows"]

#: Fewest columns of a product that fill the registers of wide processors.
WIDE = 16


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


def turn_rows(graph: oir.Graph) -> int:
    """``xᵀ·Wᵀ`` with a matrix W -> ``(W·x)ᵀ`` if the result is smaller than x: it is the cheaper one to transpose."""
    count = 0
    for node in list(graph):
        if node.op_type != "MatMul":
            continue
        a, b = inputs(node)
        turned, matrix = made_by(a, "Transpose"), made_by(b, "Transpose")
        if turned is None or matrix is None or not is_swapped(a) or len(sizes(a)) < 3 or len(sizes(b)) != 2:
            continue
        (x,), (weight,), shape = inputs(turned), inputs(matrix), sizes(node.outputs[0])
        (columns, inner), rows = sizes(weight), sizes(x)[-1]
        if not all(isinstance(size, int) for size in (columns, inner, rows)) or is_swapped(x) or only_use(a) is None:
            continue
        if int(columns) >= int(inner) or int(rows) < WIDE:
            continue
        product = new_value(graph, node, "MatMul", [weight, x], [*shape[:-2], columns, rows])
        swap = {"perm": swapped(len(shape))}
        replace(graph, node.outputs[0], new_value(graph, node, "Transpose", [product], shape, swap))
        count += 1
    return count
