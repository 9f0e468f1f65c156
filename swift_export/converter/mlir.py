"""Types, constants and locations of StableHLO modules in ONNX's terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir

from swift_export.converter.narrow_types import CARRIERS, CARRYING, NARROW, elements_in
from swift_export.errors import LoweringError
from swift_export.formats.element_types import STANDARD
from swift_export.formats.float_bits import float_bits
from swift_export.formats.mlir_bindings import ir
from swift_export.formats.scopes import scope_in
from swift_export.formats.stablehlo_module import (
    attribute_of,
    functions,
    leaves,
    main_function,
    names_of_results,
    read_module,
    static_shape,
    walk,
)

__all__ = [
    "argument_name",
    "attribute_of",
    "constant_array",
    "element_type",
    "functions",
    "has_equivalent",
    "is_small_integer",
    "leaves",
    "location_path",
    "main_function",
    "names_of_results",
    "narrow_type",
    "read_module",
    "scope_of",
    "static_shape",
    "walk",
    "where",
]

#: ONNX's type by MLIR's name.
ELEMENT_TYPES = {str(row.mlir): onnx_ir.DataType[str(row.onnx)] for row in STANDARD}

#: Bytes from which the elements of a constant are not copied, but read where the module has them.
VIEWED = 2**20

#: Longer vectors are data, not shapes.
LONGEST_SHAPE = 64


def element_type(value_type: Any) -> onnx_ir.DataType:
    """ONNX's type for the elements of an MLIR tensor type; the carrier of a narrow type."""
    name = str(value_type.element_type)
    if name in CARRIERS:
        return CARRIERS[name]
    if name not in ELEMENT_TYPES:
        raise LoweringError(f"element type {name}: ONNX has no equivalent")
    return ELEMENT_TYPES[name]


def has_equivalent(kind: Any, op: str = "") -> bool:
    """Whether ONNX has a type for an MLIR type, or one that carries its elements through an op of this name."""
    if not isinstance(kind, ir.RankedTensorType):
        return False
    return str(kind.element_type) in ELEMENT_TYPES or (op in CARRYING and narrow_type(kind) is not None)


def narrow_type(kind: Any) -> str | None:
    """NumPy's name of the elements' type if it is one that another one carries."""
    return NARROW.get(str(kind.element_type))


def constant_array(attribute: Any) -> np.ndarray:
    """The elements of a dense attribute, in the carrier of a narrow type; a splat of any size is a scalar."""
    kind = attribute.type
    narrow = narrow_type(kind)
    dtype = element_type(kind).numpy()
    if isinstance(attribute, ir.DenseElementsAttr) and attribute.is_splat:
        return np.asarray(_scalar(attribute.get_splat_value()), dtype)
    shape = tuple(kind.shape)
    if not isinstance(attribute, (ir.DenseIntElementsAttr, ir.DenseFPElementsAttr)):
        raise LoweringError(f"constant {str(attribute)[:60]}: expected dense elements")
    name = narrow or dtype.name
    if name == "bfloat16" or name.startswith("float8"):
        elements = float_bits(attribute).view(name)
    elif narrow:
        elements = elements_in(str(attribute), narrow).reshape(shape)
    else:
        elements = np.asarray(attribute)
    # A view keeps the whole MLIR context alive: only weights are worth it.
    return elements.astype(dtype, copy=elements.nbytes < VIEWED).reshape(shape)


def _scalar(attribute: Any) -> Any:
    return attribute.value


def location_path(location: Any) -> str:
    """The name in a location: for JAX, the ``named_scope`` path and the primitive."""
    while True:
        if isinstance(location, ir.NameLoc):
            name = str(location.name_str)
            # JAX wraps the named path in "primitive:".
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
    """The ``named_scope`` path of a location, without enclosing ``jit(...)`` and primitive."""
    return scope_in(location_path(location).rpartition("/")[0])


def argument_name(argument: Any, index: int) -> str:
    """The framework's name for an argument of the entry, else ``arg<index>``."""
    return location_path(argument.location) or f"arg{index}"


def where(op: Any) -> str:
    """Op and source location, for errors."""
    location = location_path(op.location)
    if not location and not isinstance(op.location, ir.UnknownLoc):
        location = str(op.location).removeprefix("loc(").removesuffix(")")
    return f"{op.operation.name} at {location or 'an unknown location'}"


def is_small_integer(kind: Any) -> bool:
    """Whether a type is a scalar, a short vector or a list of pairs (padding) of signed integers, the types of shape
    arithmetic.
    """
    return (
        isinstance(kind, ir.RankedTensorType)
        and kind.has_static_shape
        and (kind.rank <= 1 or (kind.rank == 2 and kind.shape[1] == 2))
        and str(kind.element_type) in ("i32", "i64")
        and math.prod(kind.shape) <= LONGEST_SHAPE
    )
