"""Contexts of MLIR with the dialects of modules that jax and other frameworks write, without the import of jax.

jax makes the same contexts, but takes over a second to import, which the process that reads a module first cannot
spare. jaxlib's bindings to MLIR are private, as is jax's own function.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir._mlir_libs import _chlo, _jax_mlir_ext, _mlirHlo, _sdy, _sdyMpmd, _stablehlo

__all__ = ["new_context"]

_DIALECTS = ir.DialectRegistry()
_jax_mlir_ext.register_dialects(_DIALECTS)
#: Shared by all contexts, which would start threads of their own.
_THREADS = ir.ThreadPool()


class _Context(ir.Context):
    """A context without the dialects that its base class loads: all that are linked into jaxlib."""

    def __init__(self) -> None:
        super(ir.Context, self).__init__()


def new_context() -> Any:
    """A context that reads StableHLO, its portable form, CHLO, MHLO, Shardy and `func`."""
    context = _Context()
    context.append_dialect_registry(_DIALECTS)
    context.load_all_available_dialects()
    context.set_thread_pool(_THREADS)
    _sdy.register_dialect(context)
    _sdyMpmd.register_dialect(context)
    _mlirHlo.register_mhlo_dialect(context)
    _chlo.register_dialect(context)
    _stablehlo.register_dialect(context)
    return context
