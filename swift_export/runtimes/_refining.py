"""A portable StableHLO artifact made for one shape of its input: no dynamic dimension is left in it."""

from __future__ import annotations

import io
import re
from typing import Any

from jax.extend.mlir import ir, refine_polymorphic_shapes, serialize_portable_artifact
from jax.extend.mlir.dialects import chlo, stablehlo
from jax.extend.mlir.passmanager import PassManager

from swift_export.runtimes._xla import parse_portable

__all__ = ["main_function", "refine", "refine_portable"]


def main_function(module: ir.Module) -> Any:
    """The function that a module is called by."""
    return ir.SymbolTable(module.operation)["main"]


def refine(data: bytes, shape: tuple[int, ...]) -> bytes:
    """The module for one shape of its input, as MLIR bytecode."""
    stablehlo.register_stablehlo_passes()
    module = parse_portable(data)
    with module.context:
        element = main_function(module).type.inputs[0].element_type
        kind = f"tensor<{'x'.join(map(str, shape))}x{element}>"
        PassManager.parse(f"builtin.module(stablehlo-refine-arguments{{types={kind}}})").run(module.operation)
        bytecode = io.BytesIO()
        module.operation.write_bytecode(bytecode)
    refined: bytes = refine_polymorphic_shapes(bytecode.getvalue())
    return refined


def refine_portable(data: bytes, shape: tuple[int, ...]) -> bytes:
    """The module for one shape of its input, as an artifact of the version that ``data`` has.

    Its error functions are CHLO's, which has no versions: refining unwraps the composites that they travel in.
    """
    refined = refine(data, shape)
    with parse_portable(data).context as context:  # it knows the dialects that a portable artifact has
        chlo.register_dialect(context)
        return bytes(serialize_portable_artifact(ir.Module.parse(refined), _version(data)))


def _version(data: bytes) -> str:
    """The StableHLO version that a portable artifact is written in, the producer's name in MLIR bytecode."""
    found = re.match(rb"ML\xefR.StableHLO_v(\d+\.\d+\.\d+)\0", data, re.DOTALL)
    if not found:
        raise ValueError("expected portable StableHLO bytecode, which begins with its version")
    return found[1].decode()
