"""One table of the element types and their names in each format.

This package uses NumPy's names of element types, and those of ml_dtypes for types that NumPy lacks. Light to import:
the module contains only names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "ELEMENT_TYPES",
    "FLOATING",
    "HALVES",
    "STANDARD",
    "ElementType",
    "from_mlir",
    "from_onnx",
    "from_openvino",
    "from_tensorflow",
]


@dataclass(frozen=True)
class ElementType:
    """One type with its names in all formats; None for a format that lacks it.

    ``onnx`` is the name in ``TensorProto.DataType``, ``tensorflow`` the name in ``DataType`` of ``types.proto``.
    """

    numpy: str
    mlir: str | None
    onnx: str | None
    tensorflow: str | None


#: Truth values, integers and floating-point numbers of whole bytes, known to every format and to the converter.
STANDARD = (
    ElementType("bool", "i1", "BOOL", "DT_BOOL"),
    ElementType("int8", "i8", "INT8", "DT_INT8"),
    ElementType("int16", "i16", "INT16", "DT_INT16"),
    ElementType("int32", "i32", "INT32", "DT_INT32"),
    ElementType("int64", "i64", "INT64", "DT_INT64"),
    ElementType("uint8", "ui8", "UINT8", "DT_UINT8"),
    ElementType("uint16", "ui16", "UINT16", "DT_UINT16"),
    ElementType("uint32", "ui32", "UINT32", "DT_UINT32"),
    ElementType("uint64", "ui64", "UINT64", "DT_UINT64"),
    ElementType("float16", "f16", "FLOAT16", "DT_HALF"),
    ElementType("bfloat16", "bf16", "BFLOAT16", "DT_BFLOAT16"),
    ElementType("float32", "f32", "FLOAT", "DT_FLOAT"),
    ElementType("float64", "f64", "DOUBLE", "DT_DOUBLE"),
)

ELEMENT_TYPES = (
    *STANDARD,
    ElementType("int2", "i2", "INT2", "DT_INT2"),
    ElementType("int4", "i4", "INT4", "DT_INT4"),
    ElementType("uint2", "ui2", "UINT2", "DT_UINT2"),
    ElementType("uint4", "ui4", "UINT4", "DT_UINT4"),
    ElementType("float4_e2m1fn", "f4E2M1FN", "FLOAT4E2M1", "DT_FLOAT4_E2M1FN"),
    ElementType("float6_e2m3fn", "f6E2M3FN", "FLOAT6E2M3", None),
    ElementType("float6_e3m2fn", "f6E3M2FN", "FLOAT6E3M2", None),
    ElementType("float8_e3m4", "f8E3M4", None, None),
    ElementType("float8_e4m3", "f8E4M3", None, None),
    ElementType("float8_e4m3b11fnuz", "f8E4M3B11FNUZ", None, "DT_FLOAT8_E4M3B11FNUZ"),
    ElementType("float8_e4m3fn", "f8E4M3FN", "FLOAT8E4M3FN", "DT_FLOAT8_E4M3FN"),
    ElementType("float8_e4m3fnuz", "f8E4M3FNUZ", "FLOAT8E4M3FNUZ", "DT_FLOAT8_E4M3FNUZ"),
    ElementType("float8_e5m2", "f8E5M2", "FLOAT8E5M2", "DT_FLOAT8_E5M2"),
    ElementType("float8_e5m2fnuz", "f8E5M2FNUZ", "FLOAT8E5M2FNUZ", "DT_FLOAT8_E5M2FNUZ"),
    ElementType("float8_e8m0fnu", "f8E8M0FNU", "FLOAT8E8M0", None),
    ElementType("complex64", "complex<f32>", "COMPLEX64", "DT_COMPLEX64"),
    ElementType("complex128", "complex<f64>", "COMPLEX128", "DT_COMPLEX128"),
)

#: The floating-point types of computation, in order of decreasing precision.
FLOATING = ("float64", "float32", "float16", "bfloat16")
#: Those of 16 bits.
HALVES = ("float16", "bfloat16")

#: OpenVINO's names that differ from MLIR's.
_OPENVINO = {"boolean": "bool", "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2"}

_MLIR = {row.mlir: row.numpy for row in ELEMENT_TYPES if row.mlir}
_ONNX = {row.onnx: row.numpy for row in ELEMENT_TYPES if row.onnx}
_TENSORFLOW = {row.tensorflow: row.numpy for row in ELEMENT_TYPES if row.tensorflow}


def from_mlir(name: str) -> str:
    """NumPy's name of an element type of StableHLO, such as ``bf16``; MLIR's own spelling of any other type."""
    return _MLIR.get(name, name)


def from_onnx(name: str) -> str:
    """NumPy's name of a ``TensorProto.DataType``, such as ``DOUBLE``; the lower-case name for types without elements.

    ONNX Runtime's ``tensor(double)`` is understood, too.
    """
    plain = name.removeprefix("tensor(").removesuffix(")").upper()
    return _ONNX.get(plain, plain.lower())


def from_tensorflow(name: str) -> str:
    """NumPy's name of a TensorFlow ``DataType``, such as ``DT_HALF``; the lower-case name without elements."""
    return _TENSORFLOW.get(name, name.removeprefix("DT_").lower())


def from_openvino(name: str) -> str:
    """NumPy's name of an element type of OpenVINO, such as ``boolean`` or ``u8``; OpenVINO's for unknown types."""
    return _OPENVINO.get(name) or from_mlir(re.sub(r"^u(?=\d)", "ui", name))
