"""Parsing StableHLO modules, without the rest of the lowering."""

from __future__ import annotations

from typing import Any

# The one private name of jax in use: a context that knows all dialects which modules are written in. The public
# bindings can register StableHLO and CHLO, but not `func`.
from jax._src.interpreters.mlir import make_ir_context
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from swift_export.errors import LoweringError

__all__ = ["read_module"]


def read_module(source: bytes | str) -> Any:
    """Parse a StableHLO module: a portable artifact (VHLO bytecode), MLIR bytecode or text.

    Raises LoweringError with the parser's first line for anything else.
    """
    context = make_ir_context()
    try:
        if isinstance(source, bytes) and source.startswith(b"ML\xefR"):
            # Portable artifacts are MLIR bytecode of a dialect of their own; plain bytecode parses directly.
            try:
                return stablehlo.deserialize_portable_artifact(context, source)
            except (ValueError, ir.MLIRError):
                return ir.Module.parse(source, context)
        return ir.Module.parse(source, context)
    except (ValueError, ir.MLIRError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LoweringError(f"StableHLO module: cannot be parsed: {' '.join(lines[:2])[:300]}") from None
