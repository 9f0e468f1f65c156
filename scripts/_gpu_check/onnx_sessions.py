"""ONNX Runtime as it is fastest on a GPU, with a CUDA graph, and a look at the operators that it has no kernel for."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from swift_export.runtimes.base import Arrays, Computation, Device, InputSpec, Precision, RuntimeInfo, check_inputs
from swift_export.runtimes.onnxruntime import CPU, CUDA, OnnxSession, Providers, cuda_options
from swift_export.system.text import error_line, listed

__all__ = ["GraphSession", "MixedSession", "nodes_on_cpu"]

#: Runs before the replay: two allocate memory, the third is captured.
_CAPTURED_AFTER = 3


class _FixedSession(OnnxSession):
    """One session for one shape, whose input and outputs stay where they are on the device."""

    def __init__(self, path: Path, precision: Precision, providers: Providers, inputs: Arrays):
        super().__init__(path, "ONNX Runtime, CUDA graph", precision, providers)
        batch = len(next(iter(inputs.values())))
        self._binding = self._session.io_binding()
        self._inputs = {name: ort.OrtValue.ortvalue_from_numpy(a, self._device, 0) for name, a in inputs.items()}
        self._outputs: dict[str, Any] = {}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in self._session.get_outputs():
            shape = [size if isinstance(size, int) else batch for size in output.shape]
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self._device, 0)
            self._outputs[output.name] = value
            self._binding.bind_ortvalue_output(output.name, value)
        for _ in range(_CAPTURED_AFTER):
            self.replay()

    def replay(self) -> None:
        """Compute on the input as it is on the device."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name, from a replay."""
        for name, array in inputs.items():
            self._inputs[name].update_inplace(array)
        self.replay()
        # A copy: the next call overwrites the value, which on a CPU is the array itself.
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}


class GraphSession:
    """An ONNX file whose kernels CUDA starts as one graph, recorded for each shape of the input.

    On a CPU the same steps run without a graph.
    """

    info: RuntimeInfo
    inputs: tuple[InputSpec, ...]

    def __init__(self, path: Path, precision: Precision, device: Device):
        self._path, self._precision = path, precision
        self._providers: Providers = {CPU: {}}
        if device == "gpu":
            self._providers = {CUDA: {**cuda_options(precision), "enable_cuda_graph": "1"}}
        plain = OnnxSession(path, "ONNX Runtime, CUDA graph", precision, self._providers)
        self.info, self.inputs = plain.info, plain.inputs
        self._sessions: dict[tuple[tuple[int, ...], ...], _FixedSession] = {}

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name, from a replay of the recorded graph."""
        return self._fixed(inputs)(inputs)

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        fixed = self._fixed(inputs)
        fixed(inputs)
        return fixed.replay

    def _fixed(self, inputs: Arrays) -> _FixedSession:
        check_inputs(self.inputs, inputs, self._path.name)
        shapes = tuple(array.shape for array in inputs.values())
        if shapes not in self._sessions:
            self._sessions.clear()  # the memory of one shape is enough
            self._sessions[shapes] = _FixedSession(self._path, self._precision, self._providers, inputs)
        return self._sessions[shapes]


class MixedSession(OnnxSession):
    """A session in which the CPU runs what CUDA has no kernel for."""

    def __init__(self, path: Path, precision: Precision):
        providers: Providers = {CUDA: cuda_options(precision), CPU: {}}
        super().__init__(path, "ONNX Runtime, CUDA and CPU", precision, providers)
        self._device = "cuda"
        self.info = replace(self.info, device=self._device)


def nodes_on_cpu(path: Path, precision: Precision) -> str:
    """The operators that ONNX Runtime runs on the CPU if it may, as a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        try:
            session = ort.InferenceSession(path, options, [(CUDA, dict(cuda_options(precision))), CPU])
            (entry,) = session.get_inputs()
            clip = np.zeros([size if isinstance(size, int) else 1 for size in entry.shape], np.float32)
            session.run(None, {entry.name: clip})
            events = json.loads(Path(session.end_profiling()).read_text())
        except Exception as error:  # ONNX Runtime's errors have no common type
            return f"with the CPU as well it does not run either: {error_line(error)}"
    places = {(event["name"], event["args"].get("op_name")) for event in events if _computes_on_cpu(event)}
    counted = Counter(op for _, op in places if op)
    return f"with the CPU as well it runs, there with {listed(f'{n} {op}' for op, n in counted.items()) or 'no node'}"


def _computes_on_cpu(event: dict[str, Any]) -> bool:
    return bool(event.get("cat") == "Node" and event.get("args", {}).get("provider") == CPU)
