"""reduce with a body of one well-known op."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.lowering.onnx.frame import Frame, rule
from swift_export.lowering.onnx.rules.elementwise import FLOATS, INTEGERS

__all__: list[str] = []

#: Body's op -> the ONNX reduction and the elementwise op that brings the initial value in.
REDUCTIONS = {
    "stablehlo.add": ("ReduceSum", "Add"),
    "stablehlo.maximum": ("ReduceMax", "Max"),
    "stablehlo.minimum": ("ReduceMin", "Min"),
    "stablehlo.multiply": ("ReduceProd", "Mul"),
}


@rule("stablehlo.reduce", attributes=["dimensions"])
def reduce(frame: Frame, op: Any) -> oir.Value:
    """Sum, product, maximum or minimum along axes."""
    b = frame.builder
    if len(op.operands) != 2:
        raise frame.error(op, f"{len(op.operands) // 2} operands: the op's rule reduces one")
    body = list(op.regions[0].blocks[0].operations)
    arguments = set(op.regions[0].blocks[0].arguments)
    name = body[0].operation.name
    if len(body) != 2 or name not in REDUCTIONS or set(body[0].operands) != arguments:
        raise frame.error(op, f"body {', '.join(o.operation.name for o in body)}: the op's rule takes one of "
                              f"{', '.join(REDUCTIONS)}")  # fmt: skip
    dtype = frame.dtype(op.results[0])
    if dtype not in FLOATS | INTEGERS:
        raise frame.error(op, f"elements of type {dtype.name}: ONNX does not reduce them")
    reduction, combine = REDUCTIONS[name]
    axes = list(op.attributes["dimensions"])
    value = frame.full(op.operands[0])
    shape = tuple(s for a, s in enumerate(frame.shape(op.operands[0])) if a not in axes)
    frame.shapes[op.results[0]] = shape
    if axes:
        value = b.node(reduction, [value, b.integers(axes)], dtype, shape, keepdims=0)
    initial = frame.compact(op.operands[1])
    constant = initial.const_value
    if constant is not None and np.array_equal(constant.numpy(), _neutral(name, dtype)):
        return value
    return b.same_type(combine, value, initial)


def _neutral(name: str, dtype: oir.DataType) -> np.ndarray:
    """What changes nothing: 0, 1, or the smallest or largest number of the type."""
    kind = dtype.numpy()
    if name in ("stablehlo.add", "stablehlo.multiply"):
        return np.asarray(name == "stablehlo.multiply", kind)
    if dtype in FLOATS:
        return np.asarray(-np.inf if name == "stablehlo.maximum" else np.inf, kind)
    limits = np.iinfo(kind)
    return np.asarray(limits.min if name == "stablehlo.maximum" else limits.max, kind)
