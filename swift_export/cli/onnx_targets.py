"""Describes the targets of ONNX files, and the measured speed-up of the faster one."""

from __future__ import annotations

import json
from importlib.resources import files

__all__ = ["describe_target", "speed_up"]

#: Written by scripts/bench_cpu, with the median seconds of one clip in each row.
_MEASURED = "measured.json"


def speed_up() -> float:
    """The speed-up of target onnxruntime over portable, measured in ONNX Runtime on a CPU."""
    seconds = json.loads(files(__package__).joinpath(_MEASURED).read_text(encoding="utf-8"))["seconds"]
    return float(seconds["ort-portable"] / seconds["ort"])


def describe_target(target: str, precision: str = "float32") -> str:
    """The target of an ONNX file and the gain of the other one, which is measured in float32, in one line."""
    if target == "onnxruntime":
        return "target onnxruntime, with that runtime's own operators; --target portable is for any runtime"
    gain = "has ONNX Runtime's own operators"
    if precision == "float32":
        gain = f"is {speed_up():.2f} times as fast in ONNX Runtime on a CPU"
    return f"target portable, for any runtime; --target onnxruntime {gain}"
