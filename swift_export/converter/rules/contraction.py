"""dot_general as MatMul."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.terms import FLOATS
from swift_export.formats.mlir_bindings import stablehlo

__all__ = ["finish_product", "product_type"]

DataType = oir.DataType

#: Element types that an algorithm's precision holds exactly.
EXACT_IN = {
    "f16": {"f16"},
    "bf16": {"bf16"},
    "tf32": {"f16", "bf16"},
    "f32": {"f16", "bf16", "f32"},
    "f64": {"f16", "bf16", "f32", "f64"},
}


@rule("stablehlo.dot_general", attributes=["dot_dimension_numbers", "precision_config", "algorithm"])
def dot_general(frame: Frame, op: Any) -> oir.Value:
    """Contract and batch over any axes. Axes of the result: batch, free axes of the left, free axes of the right."""
    b = frame.builder
    numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
    batching = list(numbers.lhs_batching_dimensions), list(numbers.rhs_batching_dimensions)
    contracting = list(numbers.lhs_contracting_dimensions), list(numbers.rhs_contracting_dimensions)
    dtype = product_type(frame, op)
    if b.native and {frame.dtype(v) for v in (*op.operands, op.results[0])} == {DataType.BFLOAT16}:
        dtype = DataType.BFLOAT16  # summed in float32 inside, as on GPUs
    if "algorithm" in op.attributes:
        algorithm = stablehlo.DotAlgorithm(op.attributes["algorithm"])
        _check_algorithm(frame, op, algorithm)
        dtype = DataType.DOUBLE if str(algorithm.accumulation_type) == "f64" else dtype
    left, right = (b.cast(frame.full(v), dtype) for v in op.operands)
    left_free = _others(b.shape(left), batching[0] + contracting[0])
    right_free = _others(b.shape(right), batching[1] + contracting[1])
    batch = tuple(b.shape(left)[a] for a in batching[0])
    free = (tuple(b.shape(left)[a] for a in left_free), tuple(b.shape(right)[a] for a in right_free))
    out = frame.result_shape(op, (*batch, *free[0], *free[1]))
    frame.shapes[op.results[0]] = out

    if not batch and (left_free or right_free):
        product = _by_one_matrix(b, left, right, (left_free, right_free), contracting, free)
    elif _ends_in(right, contracting[1]) and not _ends_in(left, contracting[0]):
        # Values times probabilities: in the other order, the probabilities stay as they are.
        product = _batched(b, (right, left), batching[::-1], (right_free, left_free), contracting[::-1], free[::-1])
        front = len(batch) + len(right_free)
        rest = range(len(batch), front)
        product = b.transpose(product, [*range(len(batch)), *range(front, front + len(left_free)), *rest])
    else:
        product = _batched(b, (left, right), batching, (left_free, right_free), contracting, free)
    return finish_product(b, product, frame.dtype(op.results[0]))


def product_type(frame: Frame, op: Any) -> oir.DataType:
    """The type in which sums of products are computed. It holds all values of the operands and of the result; for
    integers, it holds the bits that the result keeps.

    Raises LoweringError if operands are floats and the result is not.
    """
    operands = [frame.dtype(v) for v in op.operands[:2]]
    types, result = {*operands, frame.dtype(op.results[0])}, frame.dtype(op.results[0])
    if result not in FLOATS:
        if not FLOATS.isdisjoint(operands):
            raise frame.error(op, f"elements of type {result.name} from products of floats: the op's rule takes floats")
        # Unsigned ones have the same low bits. ONNX Runtime's MatMul of unsigned numbers fails on empty sums.
        return DataType.INT64 if result.itemsize == 8 else DataType.INT32
    if DataType.DOUBLE in types:
        return DataType.DOUBLE
    return DataType.FLOAT16 if types == {DataType.FLOAT16} else DataType.FLOAT


def finish_product(b: Builder, value: oir.Value, dtype: oir.DataType) -> oir.Value:
    """The result in its own type; for truth values, a non-zero sum of products is true."""
    if dtype == DataType.BOOL:
        assert value.dtype is not None
        return b.same_type("Not", b.truth("Equal", value, b.scalar(0, value.dtype)))
    return b.uncarried(value, dtype)


def _by_one_matrix(
    b: Builder,
    left: oir.Value,
    right: oir.Value,
    kept: tuple[list[int], list[int]],
    contracting: tuple[list[int], list[int]],
    free: tuple[Shape, Shape],
) -> oir.Value:
    """A product without batch axes: MatMul broadcasts one operand, as a matrix, over the leading axes of the other."""
    (left_free, right_free), (left_sum, right_sum) = kept, contracting
    if _is_weight(left) and not _is_weight(right) and _ends_in(right, right_sum):
        # Rows of x times a weight on the left, as a vmapped layer is written: in the other order, x stays as it is.
        product = _stack_by_matrix(b, right, left, (right_free, left_free), (right_sum, left_sum), free[::-1])
        behind = len(right_free)
        return b.transpose(product, [*range(behind, behind + len(left_free)), *range(behind)])
    if len(left_sum) == len(left_free) == 1 and len(right_free) > 1 and not _is_weight(right):
        # A matrix on the left; its rows then become the axis before the last.
        left = b.transpose(left, left_free + left_sum)
        right = b.transpose(right, right_free[:-1] + right_sum + right_free[-1:])
        assert left.dtype is not None
        product = b.node("MatMul", [left, right], left.dtype, (*free[1][:-1], *free[0], free[1][-1]))
        front = len(right_free) - 1
        return b.transpose(product, [front, *range(front), front + 1])
    return _stack_by_matrix(b, left, right, kept, contracting, free)


def _stack_by_matrix(
    b: Builder,
    stack: oir.Value,
    matrix: oir.Value,
    kept: tuple[list[int], list[int]],
    contracting: tuple[list[int], list[int]],
    free: tuple[Shape, Shape],
) -> oir.Value:
    """Sums over the contracted axes, merged into one; the matrix's free axes are its columns."""
    dtype = stack.dtype
    assert dtype is not None
    summed = _in_order(contracting)
    stack = b.transpose(stack, kept[0] + summed[0])
    matrix = b.transpose(matrix, summed[1] + kept[1])
    depth, columns = shape_size(b.shape(stack)[len(kept[0]) :]), shape_size(free[1])
    stack = b.reshape(stack, (*free[0], depth))
    matrix = b.reshape(matrix, (depth, columns))
    product = b.node("MatMul", [stack, matrix], dtype, (*free[0], columns))
    return b.reshape(product, (*free[0], *free[1]))


def _ends_in(value: oir.Value, axes: list[int]) -> bool:
    """Whether these are the last axes of a value."""
    return value.shape is not None and sorted(axes) == list(range(len(value.shape) - len(axes), len(value.shape)))


def _in_order(contracting: Sequence[list[int]]) -> list[list[int]]:
    """The contracted axes of both operands, in the order of the first one's."""
    pairs = sorted(zip(*contracting, strict=True))
    return [[pair[side] for pair in pairs] for side in (0, 1)]


def _batched(
    b: Builder,
    operands: tuple[oir.Value, oir.Value],
    batching: Sequence[list[int]],
    kept: tuple[list[int], list[int]],
    contracting: Sequence[list[int]],
    free: tuple[Shape, Shape],
) -> oir.Value:
    """Products of stacks of matrices. Axes of the result: batch, free axes of the left, free axes of the right."""
    summed, count = _in_order(contracting), len(batching[0])
    left = b.transpose(operands[0], batching[0] + kept[0] + summed[0])
    right = b.transpose(operands[1], batching[1] + summed[1] + kept[1])
    batch = b.shape(left)[:count]
    depth = shape_size(b.shape(left)[count + len(kept[0]) :])
    rows, columns = map(shape_size, free)
    left = b.reshape(left, (*batch, rows, depth))
    right = b.reshape(right, (*batch, depth, columns))
    assert left.dtype is not None
    product = b.node("MatMul", [left, right], left.dtype, (*batch, rows, columns))
    return b.reshape(product, (*batch, *free[0], *free[1]))


def _is_weight(value: oir.Value) -> bool:
    """Whether a value is a constant, also after moves and conversions."""
    node = value.producer()
    if node is None:
        return value.const_value is not None
    return node.op_type in ("Cast", "Expand", "Reshape", "Transpose", "Unsqueeze") and all(
        v is None or _is_weight(v) for v in node.inputs
    )


def _check_algorithm(frame: Frame, op: Any, algorithm: Any) -> None:
    """Refuse an algorithm that rounds its operands: the result would differ.

    An algorithm of several products of the operands' parts approximates the one exact product and is allowed.
    """
    for operand, precision in zip(
        op.operands, (algorithm.lhs_precision_type, algorithm.rhs_precision_type), strict=True
    ):
        exact = str(operand.type.element_type) in EXACT_IN.get(str(precision), ())
        if not exact and algorithm.num_primitive_operations == 1:
            raise frame.error(op, f"algorithm of precision {precision}: ONNX has no product that rounds {operand.type}")


def _others(shape: Shape, axes: list[int]) -> list[int]:
    return [a for a in range(len(shape)) if a not in axes]
