"""Settings of the ONNX file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from swift_export.converter.opsets import DEFAULT_OPSET, OPSETS, TARGETS
from swift_export.errors import UsageError

__all__ = ["ROADS", "OnnxSettings"]

#: Pipelines from the forward pass to ONNX: directly, or through jax2tf's SavedModel and tf2onnx.
ROADS = ("stablehlo", "savedmodel")


@dataclass(frozen=True)
class OnnxSettings:
    """The opset of the file, its target (``portable`` or ``onnxruntime``), and the pipeline that makes it."""

    opset: int = DEFAULT_OPSET
    target: str = TARGETS[0]
    via: str = ROADS[0]

    def check(self) -> None:
        """Raise UsageError for a choice that does not exist."""
        if self.opset not in OPSETS:
            raise UsageError(f"--opset {self.opset}: expected {OPSETS.start} to {OPSETS.stop - 1}")
        for option, value, allowed in (("target", self.target, TARGETS), ("via", self.via, ROADS)):
            if value not in allowed:
                raise UsageError(f"--{option} {value}: expected {' or '.join(allowed)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, recorded by every format."""
        recorded = asdict(self)
        del recorded["via"]  # recorded only with the ONNX file
        return recorded
