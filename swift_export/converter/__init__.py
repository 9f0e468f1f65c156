"""StableHLO -> ONNX: a reader over the MLIR bindings, one small rule per op, fusions as separate passes.

It is independent of SwiFT and takes any StableHLO module. Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift_export.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from swift_export.converter.convert import stablehlo_to_onnx
    from swift_export.converter.tf2onnx_handler import tf2onnx_handlers

_HOMES = {"stablehlo_to_onnx": "convert", "tf2onnx_handlers": "tf2onnx_handler"}

__all__ = ["stablehlo_to_onnx", "tf2onnx_handlers"]

__getattr__ = lazy_names(__name__, _HOMES)
