"""StableHLO -> ONNX: a reader over the MLIR bindings, one small rule per op, fusions as separate passes.

It is independent of SwiFT and takes any StableHLO module. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift_export.converter.convert import stablehlo_to_onnx
    from swift_export.converter.tf2onnx_handler import tf2onnx_handlers

_HOMES = {"stablehlo_to_onnx": "convert", "tf2onnx_handlers": "tf2onnx_handler"}

__all__ = ["stablehlo_to_onnx", "tf2onnx_handlers"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
