"""Bounds on the magnitude of values, whatever the file is fed."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, attribute, inputs, sizes

__all__ = ["below", "largest"]

#: Ops whose elements are those of their first operand, or smaller ones of the same kind.
KEEPING = frozenset(
    [
        "Abs",
        "Expand",
        "Gather",
        "Gelu",
        "Identity",
        "LeakyRelu",
        "Neg",
        "QuickGelu",
        "Relu",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
CHOOSING = frozenset({"Concat", "Max", "Min", "Where"})
UNIT = frozenset({"HardSigmoid", "Sigmoid", "Softmax", "Tanh"})
SUMS = frozenset({"Add", "BiasGelu", "Sub"})
PRODUCTS = frozenset({"FusedMatMul", "Gemm", "MatMul"})
#: How far back a bound is looked for.
DEPTH = 40


def below(dtype: oir.DataType) -> float:
    """Numbers of which the sum of a few is finite in this type."""
    return {"FLOAT": 2.0**120, "FLOAT16": 2.0**12, "BFLOAT16": 2.0**120, "DOUBLE": 2.0**1000}.get(dtype.name, 0.0)


def largest(value: oir.Value, known: dict[oir.Value, float] | None = None, depth: int = DEPTH) -> float:
    """The largest magnitude that an element of a floating-point value can have, unless it is NaN; infinity if unknown.

    A normalization bounds what it is given, and products with constants multiply the bound.
    """
    known = {} if known is None else known
    if value not in known:
        bound = _largest(value, known, depth) if depth and value.dtype is not None else math.inf
        known[value] = bound if value.dtype is not None and bound <= below(value.dtype) else math.inf
    return known[value]


def _largest(value: oir.Value, known: dict[oir.Value, float], depth: int) -> float:
    elements, node = array(value), value.producer()
    if elements is not None:
        return float(np.max(np.abs(elements.astype(np.float64)), initial=0.0))
    if node is None:
        return math.inf
    op, operands = node.op_type, inputs(node)

    def of(*indices: int) -> list[float]:
        return [largest(operands[i], known, depth - 1) for i in indices]

    if op in KEEPING:
        return of(0)[0]
    if op in UNIT:
        return 1.0
    if op in CHOOSING:
        return max(of(*range(op == "Where", len(operands))))
    if op in SUMS:
        return sum(of(*range(len(operands))))
    if op == "LayerNormalization" and attribute(node, "axis", -1) in (-1, len(sizes(value)) - 1):
        length = sizes(value)[-1]
        scale, *bias = of(*range(1, len(operands)))
        return math.sqrt(length) * scale + sum(bias) if isinstance(length, int) else math.inf
    if op == "MultiHeadAttention" or (op == "Attention" and len(operands) == 3):
        return sum(of(2, *range(3, len(operands))))
    if op in PRODUCTS:
        return _product(node, of(0, 1)) + sum(of(*range(2, len(operands))))
    if op == "Mul":
        return math.prod(of(0, 1))
    divisor = array(operands[1]) if op == "Div" else None
    smallest = 0.0 if divisor is None else float(np.min(np.abs(divisor.astype(np.float64)), initial=math.inf))
    return of(0)[0] / smallest if smallest > 0 else math.inf


def _product(node: oir.Node, factors: list[float]) -> float:
    # In these ops alone, the sum may run along either axis of the operand.
    swapped = attribute(node, "transA", 0) or attribute(node, "transBatchA", 0)
    length = math.inf if swapped else sizes(inputs(node)[0])[-1]
    factor = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    return math.prod(factors) * max([1.0, *map(abs, factor)]) * length if isinstance(length, int) else math.inf
