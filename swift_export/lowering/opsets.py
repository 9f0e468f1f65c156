"""The ONNX versions that are written; light to import."""

from __future__ import annotations

__all__ = ["DEFAULT_OPSET", "IR_VERSION", "OPSETS"]

#: The first with Gelu.
DEFAULT_OPSET = 20
#: From the first opset in which all reductions but sums take axes as an input to the last that ONNX Runtime 1.20 reads.
OPSETS = range(18, 22)
#: Read by ONNX Runtime >= 1.18.
IR_VERSION = 10
