"""The ONNX file in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from swift_export.errors import MachineError
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    Precision,
    RuntimeInfo,
    absent_gpu,
    check_inputs,
    processors,
)

__all__ = ["OnnxSession", "load"]

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxSession:
    """An inference session whose every node runs on the device that was asked for."""

    def __init__(self, path: Path, device: Device, precision: Precision):
        self._where = path.name
        self._device = "cpu" if device == "cpu" else "cuda"
        self._session = _open(path, device, precision)
        self.inputs = tuple(
            InputSpec(i.name, _DTYPES.get(i.type, i.type), tuple(n if isinstance(n, int) else None for n in i.shape))
            for i in self._session.get_inputs()
        )
        self.info = RuntimeInfo(
            name="ONNX Runtime",
            version=ort.__version__,
            device=self._device,
            arithmetic=precision,
            settings=_settings(self._session, device),
            providers=tuple(self._session.get_providers()),
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        check_inputs(self.inputs, inputs, self._where)
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        check_inputs(self.inputs, inputs, self._where)
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, self._device, 0))
        for output in self._session.get_outputs():
            binding.bind_output(output.name, self._device)

        def compute() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return compute


def load(path: Path, device: Device, precision: Precision = "float32") -> OnnxSession:
    """Load an ONNX file; raises MachineError where the device is absent or cannot run every node."""
    return OnnxSession(path, device, precision)


def _open(path: Path, device: Device, precision: Precision) -> ort.InferenceSession:
    if device == "gpu" and hasattr(ort, "preload_dlls"):  # since 1.21
        # CUDA and cuDNN as wheels lie where no loader looks.
        ort.preload_dlls()
    wanted, available = _PROVIDERS[device], ort.get_available_providers()
    if wanted not in available:
        raise absent_gpu(f"ONNX Runtime {ort.__version__}", ", ".join(available))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = processors()
    # A pattern a batch size would be kept in memory beside the arena: twice the peak, for calls that differ in size.
    options.enable_mem_pattern = False
    provider: Any = wanted
    if device == "gpu":
        # A node that CUDA cannot run is an error when the session is made, not a quiet copy to the CPU and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        provider = (wanted, {"use_tf32": "1" if precision == "tf32" else "0"})
    session = ort.InferenceSession(path, sess_options=options, providers=[provider])
    session.disable_fallback()
    # A provider whose libraries do not load is dropped with no more than a warning.
    if session.get_providers()[0] != wanted:
        raise MachineError(
            f"--device {device}: ONNX Runtime {ort.__version__} could not start {wanted} and fell back to "
            f"{', '.join(session.get_providers())}; check its CUDA and cuDNN libraries"
        )
    return session


def _settings(session: ort.InferenceSession, device: Device) -> dict[str, str]:
    if device == "cpu":
        return {"threads": str(session.get_session_options().intra_op_num_threads)}
    options = session.get_provider_options()[_PROVIDERS[device]]
    return {"TF32": "on" if options["use_tf32"] == "1" else "off"}
