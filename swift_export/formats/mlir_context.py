"""Contexts of MLIR with the dialects of modules that jax and other frameworks write, without the import of jax.

jax makes the same contexts by a function that is private, too.
"""

from __future__ import annotations

from typing import Any

from swift_export.formats.mlir_bindings import chlo, ir, jax_dialects, mhlo, sdy, sdy_mpmd, stablehlo

__all__ = ["new_context"]

_DIALECTS = ir.DialectRegistry()
jax_dialects.register_dialects(_DIALECTS)
#: Shared by all contexts, which would start threads of their own.
_THREADS = ir.ThreadPool()


class _Context(ir.Context):
    """A context without the dialects that its base class loads: all that are linked into jaxlib."""

    def __init__(self) -> None:
        super(ir.Context, self).__init__()


def new_context() -> Any:
    """A context that reads StableHLO, its portable form, CHLO, MHLO, Shardy and `func`.

    MLIR loads the other dialects that jax registers once a module holds an op of theirs: most are of GPUs, and to load
    them all took as long as to read a small module.
    """
    context = _Context()
    context.append_dialect_registry(_DIALECTS)
    context.get_dialect_descriptor("func")
    context.set_thread_pool(_THREADS)
    sdy.register_dialect(context)
    sdy_mpmd.register_dialect(context)
    mhlo.register_mhlo_dialect(context)
    chlo.register_dialect(context)
    stablehlo.register_dialect(context)
    return context
