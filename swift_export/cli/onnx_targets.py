"""What an ONNX file's target means, and how much faster the other one was measured to be."""

from __future__ import annotations

import json
from importlib.resources import files

__all__ = ["describe_target", "speed_up"]

#: Written by scripts/bench_cpu: median seconds of one clip in each of its rows.
_MEASURED = "measured.json"


def speed_up() -> float:
    """How many times as fast as the portable target ONNX Runtime's own was, in that runtime on a CPU."""
    seconds = json.loads(files(__package__).joinpath(_MEASURED).read_text(encoding="utf-8"))["seconds"]
    return float(seconds["ort-portable"] / seconds["ort"])


def describe_target(target: str) -> str:
    """One line: the target of an ONNX file, and what the other one would gain."""
    if target == "onnxruntime":
        return "target onnxruntime, with that runtime's own operators; --target portable is for any runtime"
    gain = f"is {speed_up():.2f} times as fast in ONNX Runtime on a CPU"
    return f"target portable, for any runtime; --target onnxruntime {gain}"
