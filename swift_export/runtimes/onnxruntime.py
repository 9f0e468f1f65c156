"""The ONNX file in ONNX Runtime, on the CPU or with CUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from swift_export.errors import MachineError
from swift_export.formats.element_types import from_onnx
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    Precision,
    RuntimeInfo,
    absent_gpu,
    check_inputs,
)
from swift_export.system.arrays import dtype_of, is_native, native_view
from swift_export.system.cuda_driver import count_gpus
from swift_export.system.machine import processors
from swift_export.system.text import error_line

__all__ = ["CPU", "CUDA", "TITLE", "OnnxSession", "cuda_options", "load"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TITLE = f"ONNX Runtime {ort.__version__}"

#: Types that NumPy lacks, by ONNX's numbers. The package takes and returns these as bits.
_FOREIGN = {
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
}
_NUMBERS = {name: number for number, name in _FOREIGN.items()}

#: Execution providers in order of precedence, each with its required options.
Providers = Mapping[str, Mapping[str, str]]


class OnnxSession:
    """An inference session in which every node runs in the requested providers."""

    def __init__(self, path: Path, title: str, precision: Precision, providers: Providers):
        self._where = path.name
        on_cpu = CPU in providers
        self._device = "cpu" if on_cpu else "cuda"
        self._session = _open(path, title, providers)
        self.inputs = tuple(
            InputSpec(i.name, from_onnx(i.type), tuple(n if isinstance(n, int) else None for n in i.shape))
            for i in self._session.get_inputs()
        )
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._foreign = any(from_onnx(end.type) in _NUMBERS for end in ends)
        threads = {"threads": str(self._session.get_session_options().intra_op_num_threads)}
        self.info = RuntimeInfo(
            name=title,
            version=ort.__version__,
            device=self._device,
            arithmetic=precision,
            settings=threads if on_cpu else {"TF32": "on" if precision == "tf32" else "off"},
            providers=tuple(self._session.get_providers()),
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        check_inputs(self.inputs, inputs, self._where)
        names = [output.name for output in self._session.get_outputs()]
        if self._foreign:
            values = {name: _value(array) for name, array in inputs.items()}
            results = [_array(value) for value in self._session.run_with_ort_values(names, values)]
        else:
            results = self._session.run(names, dict(inputs))
        return dict(zip(names, results, strict=True))

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        check_inputs(self.inputs, inputs, self._where)
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, _value(array, self._device))
        for output in self._session.get_outputs():
            binding.bind_output(output.name, self._device)

        def compute() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return compute


def load(path: Path, device: Device, precision: Precision = "float32") -> OnnxSession:
    """Load an ONNX file; raises MachineError if the device is absent or cannot run every node."""
    providers: Providers = {CPU: {}} if device == "cpu" else {CUDA: cuda_options(precision)}
    return OnnxSession(path, "ONNX Runtime", precision, providers)


def cuda_options(precision: Precision) -> Mapping[str, str]:
    """Options of the CUDA provider for a precision."""
    return {"use_tf32": "1" if precision == "tf32" else "0"}


def _value(array: np.ndarray, device: str = "cpu") -> Any:
    array = np.asarray(array, order="C")
    if is_native(array.dtype):
        return ort.OrtValue.ortvalue_from_numpy(array, device, 0)
    # Inputs are in the CPU's memory for every device.
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(native_view(array), _NUMBERS[array.dtype.name])


def _array(value: Any) -> np.ndarray:
    if value.element_type() not in _FOREIGN:
        return np.asarray(value.numpy())
    dtype, shape = dtype_of(_FOREIGN[value.element_type()]), tuple(value.shape())
    size = dtype.itemsize * int(np.prod(shape))
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size) if size else b"", dtype).reshape(shape)


def _open(path: Path, title: str, providers: Providers) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised; the log would repeat them
    options.intra_op_num_threads = processors()
    # Memory patterns, one per batch size, would be kept beside the arena: twice the peak for calls of different sizes.
    options.enable_mem_pattern = False
    if CPU not in providers:
        if hasattr(ort, "preload_dlls"):  # since 1.21
            # Wheels of CUDA and cuDNN are outside the loader's search path.
            ort.preload_dlls()
        # A node that they cannot run is an error on creation, instead of a silent copy to the CPU and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    available = ort.get_available_providers()
    if not set(providers) <= set(available):
        raise absent_gpu(f"{title} {ort.__version__}", ", ".join(available))
    # ONNX Runtime lists providers even without a GPU.
    if CPU not in providers and not count_gpus():
        raise absent_gpu(f"{title} {ort.__version__}", "a CPU")
    chosen = [(name, dict(values)) for name, values in providers.items()]
    session = _start(path, title, options, chosen)
    # A provider whose libraries do not load is dropped with only a warning.
    started = session.get_providers()[: len(chosen)]
    if started != list(providers):
        raise _not_started(title, providers, f"it fell back to {', '.join(session.get_providers())}")
    _check_options(session, title, providers)
    return session


def _start(
    path: Path, title: str, options: ort.SessionOptions, chosen: list[tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    """The session; raises MachineError if the providers fail on a valid file."""
    try:
        # By default, the Python package tries again without the failed provider.
        return ort.InferenceSession(path, options, chosen, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no common type
        names = [name for name, _ in chosen]
        if CPU in names:
            raise
        ort.InferenceSession(path, providers=[CPU])  # raises the file's own error if it is damaged
        raise _not_started(title, names, error_line(error)) from None


def _not_started(title: str, providers: Sequence[str] | Providers, why: str) -> MachineError:
    return MachineError(
        f"--device gpu: {title} {ort.__version__} could not run the whole file on {', '.join(providers)} ({why}); "
        "check that their libraries are installed"
    )


def _check_options(session: ort.InferenceSession, title: str, providers: Providers) -> None:
    granted = session.get_provider_options()
    for name, values in providers.items():
        for option, requested in values.items():
            if granted[name].get(option) != requested:
                found = granted[name].get(option, "nothing")
                raise MachineError(f"{title} {ort.__version__}: asked {name} for {option} {requested}, granted {found}")
