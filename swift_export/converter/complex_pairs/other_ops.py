"""Ops on complex tensors that are neither elementwise functions nor the same for both parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from swift_export.converter import mlir
from swift_export.converter.complex_pairs.arithmetic import Pair
from swift_export.converter.complex_pairs.numbers import complex_elements
from swift_export.converter.complex_pairs.real import Real, insert
from swift_export.converter.complex_pairs.values import (
    attributes_of,
    flat,
    flat_types,
    is_complex,
    part_type,
)
from swift_export.errors import LoweringError
from swift_export.formats.mlir_bindings import ir

__all__ = ["RULES"]

#: The parts of complex values.
Parts = Mapping[Any, Pair]


def _constant(op: Any, parts: Parts) -> list[Real]:
    kind = part_type(op.results[0].type)
    elements = complex_elements(op, np.dtype(f"f{kind.element_type.width // 8}"))
    if elements.ndim == 1 and kind.shape:
        values = [ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(kind.element_type, float(v))) for v in elements]
    else:
        values = [ir.DenseElementsAttr.get(np.ascontiguousarray(elements[..., i]).data, type=kind) for i in range(2)]
    numbers = elements.tolist() if elements.ndim == 1 else [None, None]
    made = [insert("stablehlo.constant", kind, [], {"value": value}) for value in values]
    return [Real(value, number) for value, number in zip(made, numbers, strict=True)]


def _complex(op: Any, parts: Parts) -> list[Real]:
    return list(map(Real, op.operands))


def _real(op: Any, parts: Parts) -> list[Real]:
    return [parts[op.operands[0]].re]


def _imag(op: Any, parts: Parts) -> list[Real]:
    return [parts[op.operands[0]].im]


def _convert(op: Any, parts: Parts) -> list[Real]:
    """A real number has the imaginary part 0; a complex one that becomes real loses it."""
    (operand,), (result,) = op.operands, op.results
    kind = part_type(result.type)
    made = [Real(insert("stablehlo.convert", kind, [part])) for part in flat(operand, parts)]
    if not is_complex(result):
        return made[:1]
    return made if is_complex(operand) else [*made, made[0].constant(0.0)]


def _iota(op: Any, parts: Parts) -> list[Real]:
    counted = Real(insert(op.operation.name, part_type(op.results[0].type), list(op.operands), attributes_of(op)))
    return [counted, counted.constant(0.0)]


def _compare(op: Any, parts: Parts) -> list[Real]:
    """Equal if both parts are."""
    a, b = (parts[operand] for operand in op.operands)
    direction = str(ir.Attribute(op.attributes["comparison_direction"])).rpartition(" ")[2].rstrip(">")
    if direction not in ("EQ", "NE"):
        raise LoweringError(f"{mlir.where(op)}: complex numbers: expected the comparison EQ or NE, found {direction}")
    re, im = (x.compare(direction, y) for x, y in zip(a, b, strict=True))
    return [re.binary("and" if direction == "EQ" else "or", im)]


def _fft(op: Any, parts: Parts) -> list[Real]:
    """An op of this converter's own: real operands and results, one each of a real signal, else two."""
    kinds = flat_types([op.results[0].type])
    operands = flat(op.operands[0], parts)
    return list(map(Real, ir.Operation.create("swift_export.fft", kinds, operands, attributes_of(op)).results))


#: Other ops: a function of the op that gives the values of its result.
RULES: dict[str, Callable[[Any, Parts], list[Real]]] = {
    "stablehlo.compare": _compare,
    "stablehlo.complex": _complex,
    "stablehlo.constant": _constant,
    "stablehlo.convert": _convert,
    "stablehlo.dynamic_iota": _iota,
    "stablehlo.fft": _fft,
    "stablehlo.imag": _imag,
    "stablehlo.iota": _iota,
    "stablehlo.real": _real,
}
