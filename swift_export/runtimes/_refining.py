"""Specialises a StableHLO module to one shape of each argument, without dynamic dimensions."""

from __future__ import annotations

import io
from collections.abc import Sequence

import jax
from jax.extend.mlir import ir, refine_polymorphic_shapes, serialize_portable_artifact
from jax.extend.mlir.dialects import chlo, stablehlo
from jax.extend.mlir.passmanager import PassManager

from swift_export.formats.bytecode import portable_version
from swift_export.formats.stablehlo_module import main_function
from swift_export.runtimes._xla import parse_portable
from swift_export.system.text import error_line

__all__ = ["Shapes", "refine", "refine_portable"]

#: One shape per argument, in order.
Shapes = Sequence[Sequence[int]]


def refine(module: ir.Module, shapes: Shapes) -> bytes:
    """MLIR bytecode of a module for arguments of these shapes; changes ``module`` itself.

    Raises ValueError, with the reason in one line, for shapes that the module does not take.
    """
    stablehlo.register_stablehlo_passes()
    bytecode = io.BytesIO()
    try:
        with module.context:
            kinds = [
                f"tensor<{''.join(f'{n}x' for n in shape)}{argument.element_type}>"
                for argument, shape in zip(main_function(module).type.inputs, shapes, strict=True)
            ]
            passes = f"builtin.module(stablehlo-refine-arguments{{types={','.join(kinds)}}})"
            PassManager.parse(passes).run(module.operation)
            module.operation.write_bytecode(bytecode)
        refined: bytes = refine_polymorphic_shapes(bytecode.getvalue())
    except (ir.MLIRError, jax.errors.JaxRuntimeError) as error:
        raise ValueError(error_line(error)) from None
    return refined


def refine_portable(data: bytes, shapes: Shapes) -> bytes:
    """A portable artifact for arguments of these shapes, of the same version as ``data``.

    Its error functions are CHLO's, which has no versions: refining unwraps the composites around them.
    """
    version = portable_version(data)
    if version is None:
        raise ValueError("expected portable StableHLO bytecode, which begins with its version")
    refined = refine(parse_portable(data), shapes)
    with parse_portable(data).context as context:  # it has the dialects of portable artifacts
        chlo.register_dialect(context)
        return bytes(serialize_portable_artifact(ir.Module.parse(refined), version))
