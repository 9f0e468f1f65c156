"""The ONNX versions and operator sets of written files; light to import."""

from __future__ import annotations

from swift_export.errors import UsageError

__all__ = ["DEFAULT_OPSET", "MICROSOFT", "OPSETS", "TARGETS", "check_target", "ir_version"]

#: The first opset with Gelu.
DEFAULT_OPSET = 20
#: From the first opset in which all reductions take axes as an input to the first opset with BitCast.
#: ONNX Runtime 1.20 reads opsets up to 21.
OPSETS = range(18, 27)
#: The runtimes a file is written for: every runtime (only ai.onnx ops), or ONNX Runtime (its own ops where faster).
TARGETS = ("portable", "onnxruntime")
#: The domain of ONNX Runtime's own ops, at version 1.
MICROSOFT = "com.microsoft"


def check_target(target: str) -> None:
    """Raise UsageError for an unknown target."""
    if target not in TARGETS:
        raise UsageError(f"target {target}: expected {' or '.join(TARGETS)}")


def ir_version(opset: int) -> int:
    """The version of the file format for an opset; ONNX Runtime reads version 10 from 1.18 on."""
    return 10 if opset < 23 else min(opset - 12, 13)
