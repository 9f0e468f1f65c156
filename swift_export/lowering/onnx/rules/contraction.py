"""dot_general as MatMul."""

from __future__ import annotations

from typing import Any

import onnx_ir as oir
from jax.extend.mlir.dialects import stablehlo

from swift_export.lowering.onnx.dims import Shape, shape_size
from swift_export.lowering.onnx.frame import Frame, rule
from swift_export.lowering.onnx.rules.elementwise import FLOATS

__all__: list[str] = []


@rule("stablehlo.dot_general", attributes=["dot_dimension_numbers", "precision_config"])
def dot_general(frame: Frame, op: Any) -> oir.Value:
    """Contract any axes, batch over any axes. Result: batch, free axes of the left, free axes of the right."""
    b = frame.builder
    dtype = frame.dtype(op.results[0])
    if dtype not in FLOATS or any(frame.dtype(v) != dtype for v in op.operands):
        raise frame.error(
            op, f"elements of type {dtype.name}: the op's rule takes operands and result of one float type"
        )
    numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
    left, right = (frame.full(v) for v in op.operands)
    left_batch, right_batch = list(numbers.lhs_batching_dimensions), list(numbers.rhs_batching_dimensions)
    left_sum, right_sum = list(numbers.lhs_contracting_dimensions), list(numbers.rhs_contracting_dimensions)
    left_free = _others(b.shape(left), left_batch + left_sum)
    right_free = _others(b.shape(right), right_batch + right_sum)
    batch = tuple(b.shape(left)[a] for a in left_batch)
    left_sizes = tuple(b.shape(left)[a] for a in left_free)
    right_sizes = tuple(b.shape(right)[a] for a in right_free)
    out = frame.result_shape(op, (*batch, *left_sizes, *right_sizes))
    frame.shapes[op.results[0]] = out

    if not batch and len(left_sum) == 1:
        if len(right_free) == 1:
            # MatMul broadcasts a matrix on the right over all leading axes of the left.
            left = b.transpose(left, left_free + left_sum)
            right = b.transpose(right, right_sum + right_free)
            return b.node("MatMul", [left, right], dtype, out)
        if len(left_free) == 1:
            # A matrix on the left is broadcast likewise; its rows then stand before the last axis.
            left = b.transpose(left, left_free + left_sum)
            right = b.transpose(right, right_free[:-1] + right_sum + right_free[-1:])
            product = b.node("MatMul", [left, right], dtype, (*right_sizes[:-1], *left_sizes, right_sizes[-1]))
            front = len(right_free) - 1
            return b.transpose(product, [front, *range(front), front + 1])

    left = b.transpose(left, left_batch + left_free + left_sum)
    right = b.transpose(right, right_batch + right_sum + right_free)
    inner = tuple(b.shape(left)[len(batch) + len(left_free) :])
    rows, columns, depth = shape_size(left_sizes), shape_size(right_sizes), shape_size(inner)
    left = b.reshape(left, (*batch, rows, depth))
    right = b.reshape(right, (*batch, depth, columns))
    return b.reshape(b.node("MatMul", [left, right], dtype, (*batch, rows, columns)), out)


def _others(shape: Shape, axes: list[int]) -> list[int]:
    return [a for a in range(len(shape)) if a not in axes]
