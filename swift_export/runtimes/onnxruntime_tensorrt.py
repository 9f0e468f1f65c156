"""The ONNX file in ONNX Runtime with TensorRT, and with CUDA where TensorRT has no kernel; never on the CPU."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path

from swift_export.runtimes.base import Device, Precision
from swift_export.runtimes.onnxruntime import CUDA, OnnxSession, cuda_options

__all__ = ["TENSORRT", "load"]

TENSORRT = "TensorrtExecutionProvider"

#: The only way to disable TF32 in TensorRT through ONNX Runtime; NVIDIA's libraries read it at their first use.
_TF32 = "NVIDIA_TF32_OVERRIDE"


def load(path: Path, device: Device, precision: Precision = "float32") -> OnnxSession:
    """Load an ONNX file, from which TensorRT makes one engine per shape of its input.

    Raises MachineError if TensorRT or the GPU is absent, or if a node runs on neither of the two.
    """
    if precision == "tf32":
        os.environ.pop(_TF32, None)
    else:
        os.environ[_TF32] = "0"
    if find_spec("tensorrt"):
        # A wheel's libraries are outside the loader's search path; TensorRT's module loads them.
        importlib.import_module("tensorrt")
    half = {"trt_fp16_enable": "1" if precision == "float16" else "0"}
    return OnnxSession(path, "ONNX Runtime on TensorRT", precision, {TENSORRT: half, CUDA: cuda_options(precision)})
