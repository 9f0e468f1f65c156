"""The ONNX file in OpenVINO with an explicit precision: by default it uses bfloat16 if the CPU supports it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from swift_export.errors import MachineError
from swift_export.formats.element_types import from_openvino
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    LoadError,
    Precision,
    RuntimeInfo,
    check_inputs,
)
from swift_export.system.arrays import dtype_of, is_native, native_view
from swift_export.system.machine import processors
from swift_export.system.text import one_line

__all__ = ["OpenVinoSession", "load"]

_DEVICE = "CPU"
_HINTS: dict[Precision, str] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_PRECISIONS = {hint: precision for precision, hint in _HINTS.items()}
#: Types that NumPy lacks; the package takes and returns their bits.
_FOREIGN = {"bfloat16": ov.Type.bf16, "float8_e4m3fn": ov.Type.f8e4m3, "float8_e5m2": ov.Type.f8e5m2}
#: The beginning of OpenVINO's errors: a place in its sources.
_ORIGIN = re.compile(r"^(Exception from|Check '.*' failed at) \S+:?$", re.MULTILINE)


class OpenVinoSession:
    """A compiled model for every shape that the file allows."""

    def __init__(self, path: Path, precision: Precision):
        self._path = path
        model, compiled = _compile(path, precision)
        # Names are read from nodes: optimisation adds names to tensors.
        self.inputs = tuple(
            InputSpec(
                port.node.friendly_name,
                from_openvino(port.element_type.get_type_name()),
                tuple(n.get_length() if n.is_static else None for n in port.partial_shape),
            )
            for port in model.inputs
        )
        self._outputs = [port.node.friendly_name.removesuffix("/sink_port_0") for port in model.outputs]
        self._request = compiled.create_infer_request()
        devices = tuple(compiled.get_property("EXECUTION_DEVICES"))
        self.info = RuntimeInfo(
            name="OpenVINO",
            version=ov.__version__.split("-")[0],
            device=", ".join(devices),
            arithmetic=_granted(compiled, precision),
            settings={"threads": str(compiled.get_property("INFERENCE_NUM_THREADS"))},
            providers=devices,
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        self.place(inputs)()
        found = (_array(self._request.get_output_tensor(i)) for i in range(len(self._outputs)))
        return dict(zip(self._outputs, found, strict=True))

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to OpenVINO's tensors."""
        check_inputs(self.inputs, inputs, self._path.name)
        for i, spec in enumerate(self.inputs):
            self._request.set_input_tensor(i, _tensor(inputs[spec.name]))
        infer: Computation = self._request.infer
        return infer


def load(path: Path, device: Device, precision: Precision = "float32") -> OpenVinoSession:
    """Load an ONNX file; raises LoadError for unsupported operators, MachineError for an unavailable precision."""
    return OpenVinoSession(path, precision)


def _tensor(array: np.ndarray) -> Any:
    array = np.asarray(array, order="C")
    if is_native(array.dtype):
        return ov.Tensor(array)
    return ov.Tensor(native_view(array), array.shape, _FOREIGN[array.dtype.name])


def _array(tensor: Any) -> np.ndarray:
    """A copy: the next call overwrites the request's memory."""
    dtype = from_openvino(tensor.element_type.get_type_name())
    array = np.array(tensor.data)
    return array.view(dtype_of(dtype)) if dtype in _FOREIGN else array


def _compile(path: Path, precision: Precision) -> tuple[Any, Any]:
    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": processors(),
    }
    try:
        model = core.read_model(path)
        return model, core.compile_model(model, _DEVICE, settings)
    except RuntimeError as error:
        reason = one_line(_ORIGIN.sub("", str(error)))
        raise LoadError(f"{path.name}: OpenVINO cannot load it: {reason}") from None


def _granted(compiled: Any, requested: Precision) -> Precision:
    """The compiled model's precision; raises MachineError if it is not the requested one."""
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    granted = _PRECISIONS.get(hint)
    if granted != requested:
        raise MachineError(f"--precision {requested}: OpenVINO on this processor computes in {granted or hint} instead")
    return granted
