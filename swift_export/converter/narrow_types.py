"""Element types of less than a byte or of eight-bit floats: no ONNX Runtime computes with them.

A value of such a type is carried in a wider type that holds each of its values: float32, int8 or uint8. Ops that move
elements, compare them or multiply them into a wider type need nothing else; a conversion rounds or wraps.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as oir

from swift_export.formats.element_types import ELEMENT_TYPES

__all__ = ["CARRIERS", "CARRYING", "EIGHT_BITS", "EIGHT_BITS_OPSET", "NARROW", "PRODUCTS", "elements_in"]

_KINDS = {"float": oir.DataType.FLOAT, "int": oir.DataType.INT8, "uint": oir.DataType.UINT8}

#: NumPy's name by MLIR's.
NARROW = {
    str(row.mlir): row.numpy
    for row in ELEMENT_TYPES
    if re.fullmatch(r"(float[468]|u?int[24])(_.*)?", row.numpy) and row.mlir is not None
}
#: The type that carries the elements, by MLIR's name.
CARRIERS = {name: _KINDS[re.split(r"\d", numpy)[0]] for name, numpy in NARROW.items()}

#: The eight-bit floats to and from which ONNX Runtime converts, by NumPy's name.
EIGHT_BITS = {
    row.numpy: oir.DataType[row.onnx] for row in ELEMENT_TYPES if row.onnx and re.match(r"float8_e[45]", row.numpy)
}
#: ... and the first opset that has them.
EIGHT_BITS_OPSET = 19

#: Products of narrow elements, whose result is of a type of its own.
PRODUCTS = frozenset({"stablehlo.dot_general", "stablehlo.convolution", "stablehlo.dynamic_conv"})

_MOVES = (
    "bitcast_convert broadcast_in_dim case compare concatenate constant convert "
    "dynamic_broadcast_in_dim dynamic_gather dynamic_pad dynamic_reshape dynamic_slice dynamic_update_slice gather if "
    "optimization_barrier pad real_dynamic_slice reshape reverse select set_dimension_size slice transpose tuple while"
)
#: Ops with a rule that does not depend on the carried type.
CARRYING = PRODUCTS | {"func.call", "sdy.sharding_constraint", *(f"stablehlo.{name}" for name in _MOVES.split())}


def elements_in(text: str, name: str) -> np.ndarray:
    """Elements of a printed dense attribute of any type of one or two bytes, by NumPy's name of the type.

    MLIR's Python binding has no other access to the elements of these types.
    """
    dtype = np.dtype(name)
    body = text.removeprefix("dense<").rpartition(">")[0].rpartition(">")[0]
    bits = np.dtype(f"<u{dtype.itemsize}")
    if body.startswith('"0x'):
        return np.frombuffer(bytes.fromhex(body.strip('"')[2:]), bits).view(dtype)
    # Numbers without an exact decimal form, like NaN, are printed as bits.
    parts = re.findall(r"[^\[\], ]+", body)
    numbers = [int(p, 16) if p.startswith("0x") else int(np.asarray(float(p), dtype).view(bits)) for p in parts]
    return np.asarray(numbers, bits).view(dtype)
