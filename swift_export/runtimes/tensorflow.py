"""The SavedModel in TensorFlow with the signature ``serving_default``, like in TF Serving and without JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from swift_export.errors import MachineError, UsageError
from swift_export.formats.metadata import SIGNATURE
from swift_export.formats.savedmodel import xla_calls
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    Precision,
    RuntimeInfo,
    absent_gpu,
    check_inputs,
    file_label,
)
from swift_export.system.machine import processors

__all__ = ["SIGNATURE", "SavedModelSession", "load"]


class SavedModelSession:
    """One signature of a SavedModel on one device, by TensorFlow's name; ``described`` is the device's own name.

    TensorFlow's settings are not changed.
    """

    def __init__(self, path: Path, device: str = "CPU:0", described: str = "cpu", signature: str = SIGNATURE):
        self._where = file_label(path)
        self._device = device
        with tf.device(device):
            # Kept beside its signature: the variables live as long as this object.
            self._model = tf.saved_model.load(str(path))
        self._function = self._model.signatures[signature]
        allowed = tf.config.experimental.tensor_float_32_execution_enabled()
        _, specs = self._function.structured_input_signature
        self.inputs = tuple(InputSpec(name, spec.dtype.name, tuple(spec.shape)) for name, spec in sorted(specs.items()))
        # 0 by default: one thread per processor.
        threads = tf.config.threading.get_intra_op_parallelism_threads() or processors()
        self.info = RuntimeInfo(
            name="TensorFlow",
            version=tf.__version__,
            device=described,
            arithmetic="tf32" if allowed else "float32",
            settings={"TF32": "on" if allowed else "off", "threads": str(threads)},
            providers=(self._device,),
        )

    @property
    def holds_stablehlo(self) -> bool:
        """Whether the function, or one that it calls, is jax2tf's, which TensorFlow's own switches do not affect."""
        return bool(xla_calls(self._function.graph.as_graph_def()))

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        outputs = self._compute(self._put(inputs))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        placed = self._put(inputs)

        def compute() -> None:
            self._compute(placed)
            tf.test.experimental.sync_devices()

        return compute

    def _put(self, inputs: Arrays) -> dict[str, Any]:
        check_inputs(self.inputs, inputs, self._where)
        with tf.device(self._device):
            return {name: tf.identity(tf.constant(array)) for name, array in inputs.items()}

    def _compute(self, placed: dict[str, Any]) -> dict[str, Any]:
        with tf.device(self._device):
            outputs: dict[str, Any] = self._function(**placed)
        for name, tensor in outputs.items():
            if not tensor.device.endswith(self._device):
                raise MachineError(f"TensorFlow computed {name} on {tensor.device}, not on {self._device} as asked")
        return outputs


def load(path: Path, device: Device, precision: Precision = "float32") -> SavedModelSession:
    """Load the folder that holds ``saved_model.pb``.

    Raises UsageError if TF32 is requested but unavailable.
    """
    name, described = _find_device(device)
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    session = SavedModelSession(path, name, described)
    if precision == "tf32" and session.holds_stablehlo:
        raise UsageError(
            f"--precision tf32: {file_label(path)} contains StableHLO, which states the precision of its products; "
            "use --precision float32"
        )
    return session


def _find_device(device: Device) -> tuple[str, str]:
    """TensorFlow's name of the device and the device's own; raises MachineError for an absent GPU."""
    # An op that the device cannot run is an error, instead of a silent move to the CPU.
    tf.config.set_soft_device_placement(False)
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return "CPU:0", "cpu"
    if not gpus:
        found = ", ".join(sorted({d.device_type for d in tf.config.list_physical_devices()}))
        raise absent_gpu(f"TensorFlow {tf.__version__}", found)
    return "GPU:0", tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU:0")
