"""Parsing StableHLO modules, without the rest of the lowering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# The one private name of jax in use: a context that knows all dialects which modules are written in. The public
# bindings can register StableHLO and CHLO, but not `func`.
from jax._src.interpreters.mlir import make_ir_context
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.extend.mlir.passmanager import PassManager

from swift_export.formats.module_limits import check_module
from swift_export.errors import LoweringError

__all__ = ["read_module", "walk"]

#: Ops that newer ones replace; TensorFlow still writes some.
_DEPRECATED = {f"stablehlo.{name}" for name in ("broadcast", "dot", "einsum", "unary_einsum")}


def read_module(source: bytes | str) -> Any:
    """Parse a StableHLO module: a portable artifact (VHLO bytecode), MLIR bytecode or text.

    Deprecated ops come as those that replace them. Raises LoweringError with the parser's first line for anything else,
    ModuleError for what the limits of modules forbid.
    """
    module = _parse(source)
    if check_module(module) & _DEPRECATED:
        stablehlo.register_stablehlo_passes()
        passes = "builtin.module(func.func(stablehlo-legalize-deprecated-ops{fail-on-unused=false}))"
        PassManager.parse(passes, module.context).run(module.operation)
    return module


def walk(op: Any) -> Iterator[Any]:
    """All ops below ``op``, in order, regions included."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner
                yield from walk(inner)


def _parse(source: bytes | str) -> Any:
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
