"""The ONNX versions and operator sets that are written; light to import."""

from __future__ import annotations

from swift_export.errors import UsageError

__all__ = ["DEFAULT_OPSET", "MICROSOFT", "OPSETS", "TARGETS", "check_target", "ir_version"]

#: The first with Gelu.
DEFAULT_OPSET = 20
#: From the first opset in which all reductions but sums take axes as an input to the first with BitCast.
#: ONNX Runtime 1.20 reads them up to 21.
OPSETS = range(18, 27)
#: Whom a file is for: every runtime (ai.onnx alone), or ONNX Runtime (its own ops where they are faster).
TARGETS = ("portable", "onnxruntime")
#: The domain of ONNX Runtime's own ops; they are version 1 of it.
MICROSOFT = "com.microsoft"


def check_target(target: str) -> None:
    """Raise UsageError for a target that there is not."""
    if target not in TARGETS:
        raise UsageError(f"target {target}: expected {' or '.join(TARGETS)}")


def ir_version(opset: int) -> int:
    """The version of the file format that an opset is written in; ONNX Runtime reads 10 from 1.18 on."""
    return 10 if opset < 23 else min(opset - 12, 13)
