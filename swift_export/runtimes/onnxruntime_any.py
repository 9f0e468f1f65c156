"""Any ONNX file in ONNX Runtime on the CPU, inputs and outputs of every type that has elements in NumPy."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

from swift_export.errors import CheckFailed

__all__ = ["AnySession"]

#: What ONNX calls bfloat16. ONNX Runtime's Python package gives and takes its bits, not its numbers.
_BFLOAT16 = 16


class AnySession:
    """An inference session as a user would make it, graph optimisations included.

    Raises CheckFailed for a file that ONNX Runtime does not load or that fails while it runs.
    """

    def __init__(self, path: Path) -> None:
        self.title = f"ONNX Runtime {ort.__version__}"
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised; the log would say them again
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common type
            raise CheckFailed(f"{self.title} does not load the file: {_line(error)}") from None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            results = self._session.run_with_ort_values(names, {name: _value(a) for name, a in inputs.items()})
        except Exception as error:
            raise CheckFailed(f"{self.title} fails on the file: {_line(error)}") from None
        return {name: _array(result) for name, result in zip(names, results, strict=True)}


def _value(array: np.ndarray) -> Any:
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> np.ndarray:
    if value.element_type() != _BFLOAT16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    count = int(np.prod(shape))
    data = ctypes.string_at(value.data_ptr(), 2 * count) if count else b""
    return np.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
