"""MLIR's bindings in jaxlib: the only place that imports them.

`jax.extend.mlir`, the public name of the same classes, imports all of jax, which takes longer than to read, translate
and write a small module. What works with jax anyway imports it from there.
"""

from __future__ import annotations

from jaxlib.mlir import ir
from jaxlib.mlir._mlir_libs import _chlo as chlo
from jaxlib.mlir._mlir_libs import _jax_mlir_ext as jax_dialects
from jaxlib.mlir._mlir_libs import _mlirHlo as mhlo
from jaxlib.mlir._mlir_libs import _sdy as sdy
from jaxlib.mlir._mlir_libs import _sdyMpmd as sdy_mpmd
from jaxlib.mlir._mlir_libs import _stablehlo as stablehlo
from jaxlib.mlir.passmanager import PassManager

__all__ = ["PassManager", "chlo", "ir", "jax_dialects", "mhlo", "sdy", "sdy_mpmd", "stablehlo"]
