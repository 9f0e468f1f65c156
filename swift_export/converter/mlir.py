"""What StableHLO modules hold, through the MLIR bindings: functions, types, constants, names and locations."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import onnx_ir
from jax.extend.mlir import ir

from swift_export.formats.stablehlo_module import read_module, walk
from swift_export.errors import LoweringError

__all__ = [
    "argument_name",
    "constant_array",
    "element_type",
    "functions",
    "has_equivalent",
    "is_small_integer",
    "location_path",
    "main_function",
    "read_module",
    "scope_of",
    "static_shape",
    "walk",
    "where",
]

ELEMENT_TYPES = {
    "i1": onnx_ir.DataType.BOOL,
    "i8": onnx_ir.DataType.INT8,
    "i16": onnx_ir.DataType.INT16,
    "i32": onnx_ir.DataType.INT32,
    "i64": onnx_ir.DataType.INT64,
    "ui8": onnx_ir.DataType.UINT8,
    "ui16": onnx_ir.DataType.UINT16,
    "ui32": onnx_ir.DataType.UINT32,
    "ui64": onnx_ir.DataType.UINT64,
    "f16": onnx_ir.DataType.FLOAT16,
    "bf16": onnx_ir.DataType.BFLOAT16,
    "f32": onnx_ir.DataType.FLOAT,
    "f64": onnx_ir.DataType.DOUBLE,
}


#: Longer vectors are data, not shapes.
LONGEST_SHAPE = 64


def main_function(module: Any) -> Any:
    """The module's entry, ``@main``."""
    for op in module.body.operations:
        if op.operation.name == "func.func" and op.attributes["sym_name"].value == "main":
            if not op.regions[0].blocks:
                raise LoweringError("function @main: expected a body, found a declaration alone")
            return op
    raise LoweringError("StableHLO module: expected a function @main, found none")


def functions(module: Any) -> dict[str, Any]:
    """All functions by name."""
    return {op.attributes["sym_name"].value: op for op in module.body.operations if op.operation.name == "func.func"}


def static_shape(value: Any) -> tuple[int | None, ...]:
    """Shape of an MLIR value's type; None where it is unknown."""
    kind = value.type
    if not isinstance(kind, ir.RankedTensorType):
        raise LoweringError(f"type {kind}: expected a ranked tensor")
    return tuple(None if kind.is_dynamic_dim(i) else kind.get_dim_size(i) for i in range(kind.rank))


def element_type(value_type: Any) -> onnx_ir.DataType:
    """ONNX's type for the elements of an MLIR tensor type."""
    name = str(value_type.element_type)
    if name not in ELEMENT_TYPES:
        raise LoweringError(f"element type {name}: ONNX has no equivalent")
    return ELEMENT_TYPES[name]


def has_equivalent(kind: Any) -> bool:
    """Whether ONNX has a type for an MLIR type."""
    return isinstance(kind, ir.RankedTensorType) and str(kind.element_type) in ELEMENT_TYPES


def constant_array(attribute: Any) -> np.ndarray:
    """The elements of a dense attribute; a splat comes back as a scalar, however large its type."""
    kind = attribute.type
    dtype = element_type(kind).numpy()
    if isinstance(attribute, ir.DenseElementsAttr) and attribute.is_splat:
        return np.asarray(_scalar(attribute.get_splat_value()), dtype)
    shape = tuple(kind.shape)
    if not isinstance(attribute, (ir.DenseIntElementsAttr, ir.DenseFPElementsAttr)):
        raise LoweringError(f"constant {str(attribute)[:60]}: expected dense elements")
    if dtype.name == "bfloat16":
        return _bfloat16(str(attribute)).reshape(shape)
    # A copy: the buffer belongs to the MLIR context, which does not outlive the lowering.
    return np.array(attribute).astype(dtype).reshape(shape)


def _bfloat16(text: str) -> np.ndarray:
    """Elements of a dense attribute as it is printed: MLIR's Python binding gives those of bfloat16 in no other way."""
    body = text.removeprefix("dense<").rpartition(">")[0].rpartition(">")[0]
    dtype = onnx_ir.DataType.BFLOAT16.numpy()
    if body.startswith('"0x'):
        return np.frombuffer(bytes.fromhex(body.strip('"')[2:]), "<u2").view(dtype)
    # Numbers that no decimals give back, like NaN, are printed as their bits.
    parts = re.findall(r"[^\[\], ]+", body)
    bits = [int(p, 16) if p.startswith("0x") else int(np.asarray(float(p), dtype).view(np.uint16)) for p in parts]
    return np.asarray(bits, np.uint16).view(dtype)


def _scalar(attribute: Any) -> Any:
    return attribute.value


def location_path(location: Any) -> str:
    """The name that a location carries: for JAX the ``named_scope`` path and the primitive."""
    while True:
        if isinstance(location, ir.NameLoc):
            name = str(location.name_str)
            # jax puts "primitive:" around the named path.
            if name.endswith(":") and isinstance(location.child_loc, ir.NameLoc):
                location = location.child_loc
                continue
            return name
        if isinstance(location, ir.CallSiteLoc):
            location = location.callee
        elif isinstance(location, ir.FusedLoc) and location.locations:
            location = location.locations[0]
        else:
            return ""


def scope_of(location: Any) -> str:
    """The ``named_scope`` path of a location: no enclosing ``jit(...)``, no primitive."""
    parts = [p for p in location_path(location).split("/") if p and not p.startswith(("jit(", "vmap("))]
    return "/".join(parts[:-1])


def argument_name(argument: Any, index: int) -> str:
    """The name that a framework gave to an argument of the entry, else ``arg<index>``."""
    return location_path(argument.location) or f"arg{index}"


def where(op: Any) -> str:
    """Op and source location, for errors."""
    location = location_path(op.location)
    if not location and not isinstance(op.location, ir.UnknownLoc):
        location = str(op.location).removeprefix("loc(").removesuffix(")")
    return f"{op.operation.name} at {location or 'an unknown location'}"


def is_small_integer(kind: Any) -> bool:
    """Whether a type is a scalar or short vector of signed integers, as shapes are computed in."""
    return (
        isinstance(kind, ir.RankedTensorType)
        and kind.rank <= 1
        and kind.has_static_shape
        and str(kind.element_type) in ("i32", "i64")
        and math.prod(kind.shape) <= LONGEST_SHAPE
    )
