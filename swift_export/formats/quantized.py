"""Uniform quantized types: a module that has them becomes one of integers and floats, as the specification defines."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from swift_export.errors import LoweringError
from swift_export.formats.mlir_bindings import PassManager, ir, stablehlo

__all__ = ["has_quantized_types", "know_quantized_types", "without_quantized_types"]

_CONVERSIONS = frozenset({"stablehlo.uniform_quantize", "stablehlo.uniform_dequantize"})
_CREATING = "builtin.module(vhlo-legalize-to-stablehlo)"
_COMPUTING = "builtin.module(func.func(stablehlo-legalize-quant-to-math))"


def know_quantized_types(context: Any) -> None:
    """Make a context read quantized types.

    Python has no binding for their dialect. A pass that may create such types loads it, on an empty module, too.
    """
    stablehlo.register_stablehlo_passes()
    with context:
        PassManager.parse(_CREATING).run(ir.Module.parse("module {}").operation)


def has_quantized_types(module: Any, names: Collection[str]) -> bool:
    """Whether a module with ops of these names has quantized values: made by an op, or passed to a function."""
    if not _CONVERSIONS.isdisjoint(names):
        return True
    signatures = (op.attributes["function_type"] for op in module.body.operations if op.operation.name == "func.func")
    return any("!quant." in str(signature) for signature in signatures)


def without_quantized_types(module: Any) -> None:
    """Replace quantized values by their integers, and ops on them by arithmetic, in place.

    StableHLO's own pass does it; raises LoweringError with its reason for an op that it does not take.
    """
    try:
        with module.context:
            PassManager.parse(_COMPUTING).run(module.operation)
    except ir.MLIRError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LoweringError(f"StableHLO module: quantized types: {' '.join(lines[1:2] or lines)[:300]}") from None
