"""StableHLO -> ONNX: a reader over the MLIR bindings, one small rule an op, fusions as separate passes.

It knows nothing of SwiFT: any StableHLO module can be its input.
"""

from __future__ import annotations

from swift_export.lowering.onnx.convert import stablehlo_to_onnx

__all__ = ["stablehlo_to_onnx"]
