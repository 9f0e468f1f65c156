"""The element types of ONNX Runtime's CPU kernels, and the wider type in which an op without a kernel is computed.

ONNX allows far more types than any runtime implements: a file can be valid although no runtime loads it. The table
describes ONNX Runtime 1.31, opsets 18 to 26; a test compares it with the installed runtime.
"""

from __future__ import annotations

import onnx_ir as oir

from swift_export.errors import LoweringError
from swift_export.formats.element_types import STANDARD

__all__ = ["KERNELS", "NATIVE", "NoKernelError", "carrier", "has_kernel"]

DataType = oir.DataType

#: ONNX's types by MLIR's short names.
_TYPES = {str(row.mlir): oir.DataType[str(row.onnx)] for row in STANDARD}

_INTEGERS = "i8 i16 i32 i64 ui8 ui16 ui32 ui64"

#: Ops by the element types that they take; unlisted ops take all types.
_TABLE = {
    "i1": "And Not Or Xor",
    "f32": "Acos Acosh Asin Asinh Atan Atanh AveragePool Celu Col2Im Conv ConvTranspose Cosh Elu Erf Gelu GridSample "
    "HardSigmoid InstanceNormalization LeakyRelu LpPool PRelu Selu Sinh Softplus Softsign Tan",
    "f32 f64": "BatchNormalization Ceil Cos Exp Floor Gemm IsInf Log LogSoftmax Reciprocal Sigmoid Sin Softmax Sqrt "
    "Tanh",
    "f16 f32": "Attention",
    "f16 f32 f64": "IsNaN RMSNormalization Round",
    "f16 bf16 f32 f64": "LayerNormalization",
    _INTEGERS: "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor",
    f"{_INTEGERS} f32 f64": "Abs Add Div Greater GreaterOrEqual Less LessOrEqual Mul Sub",
    f"{_INTEGERS} f16 f32 f64": "Mod",
    f"{_INTEGERS} f16 bf16 f32 f64": "Sign",
    f"i1 {_INTEGERS} f32 f64": "Equal Tile",
    f"i1 {_INTEGERS} f16 f32 f64": "Expand",
    "i1 i8 i32 i64 ui8 ui32 ui64 f32 f64": "Pad",
    "i1 i32 i64 f32 f64": "Trilu",
    "i8 i32 i64 ui8 ui32 f32 f64": "Where",
    "i8 i32 i64 ui8 ui32 ui64 f16 f32 f64": "Clip Max Min",
    "i8 i32 i64 ui8 f32 f64": "ArgMax ArgMin ReduceMax ReduceMin",
    "i8 i16 i32 i64 f32 f64": "Neg",
    "i8 i16 i32 i64 ui8 f32 f64": "TopK",
    "i16 i32 i64 f32 f64": "Range",
    "i32 i64 f32 f64": "CumSum Einsum Pow ReduceMean ReduceProd ReduceSum",
    "i32 i64 ui32 ui64 f32 f64": "CumProd MatMul",
    "i8 ui8 f32 f64": "MaxPool",
    "ui8 ui32 ui64": "BitShift",
    "i1 i32 i64 ui8 f32": "NonZero",
}

KERNELS: dict[str, frozenset[oir.DataType]] = {
    op_type: frozenset(_TYPES[name] for name in types.split())
    for types, op_types in _TABLE.items()
    for op_type in op_types.split()
}

#: The ops that stay on bfloat16 in files for GPUs: ONNX Runtime's CUDA provider has kernels for them.
NATIVE = frozenset({"Add", "Div", "Gemm", "LayerNormalization", "MatMul", "Mul", "Softmax", "Sub"})

#: Wider types that hold every value, the cheapest first.
_WIDER = {
    "i1": "ui8 i32",
    "i8": "i16 i32 i64",
    "i16": "i32 i64",
    "i32": "i64",
    "ui8": "ui16 i16 ui32 i32 ui64 i64",
    "ui16": "ui32 i32 ui64 i64",
    "ui32": "ui64 i64",
    "f16": "f32",
    "bf16": "f32",
}
#: Types with the same low bits, for ops that depend only on these.
_SAME_BITS = {"ui32": "i32 i64", "ui64": "i64", "i32": "ui32", "i64": "ui64"}

_NAMES = {dtype: name for name, dtype in _TYPES.items()}


class NoKernelError(LoweringError):
    """An ONNX op has no kernel for a type of elements, nor for any type that would give the same result."""

    def __init__(self, op_type: str, dtype: oir.DataType) -> None:
        super().__init__(f"ONNX's {op_type} on elements of type {dtype.name}: ONNX Runtime has no kernel for it")


def has_kernel(op_type: str, dtype: oir.DataType, *, native: bool = False) -> bool:
    """Whether ONNX Runtime computes an op on elements of this type; it converts float16 to float32 by itself.

    With ``native``, on a GPU if they are bfloat16.
    """
    if native and dtype == DataType.BFLOAT16 and op_type in NATIVE:
        return True
    allowed = KERNELS.get(op_type)
    return allowed is None or dtype in allowed or (dtype == DataType.FLOAT16 and DataType.FLOAT in allowed)


def carrier(op_type: str, dtype: oir.DataType, *, modular: bool = False, native: bool = False) -> oir.DataType | None:
    """The type in which an op on elements of ``dtype`` is computed, or None if no type gives the same result.

    The carrier holds every value of ``dtype``. In a ``modular`` op, like a sum of integers, the low bits of the result
    depend only on the low bits of the operands, so any integer type of sufficient width serves: casting back drops the
    higher bits.
    """
    name = _NAMES.get(dtype)
    candidates = [name, *_WIDER.get(str(name), "").split()]
    if modular:
        candidates += _SAME_BITS.get(str(name), "").split()
    for candidate in candidates:
        if candidate is not None and has_kernel(op_type, _TYPES[candidate], native=native):
            return _TYPES[candidate]
    return None
