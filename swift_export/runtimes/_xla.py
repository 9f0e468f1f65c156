"""Shared code of the JAX-based runtimes: the device, arrays to and from it, and the precision required by a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.mlir import deserialize_portable_artifact, ir
from jax.extend.mlir.dialects import stablehlo

from swift_export.formats.stablehlo_module import walk
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    RuntimeInfo,
    absent_gpu,
    check_inputs,
)
from swift_export.system.machine import processors

__all__ = [
    "AS_WRITTEN",
    "Compute",
    "XlaSession",
    "arithmetic",
    "describe",
    "dot_precisions",
    "find_device",
    "parse_portable",
]

#: From arrays on the device to arrays on the device, by name.
Compute = Callable[[Mapping[str, Any]], Mapping[str, Any]]

#: XLA's options for computing each operator as the module has it. By default, its simplifier makes a quotient by a
#: constant a product with the rounded inverse, for example: another number of the last bit, of which a floor that
#: follows makes another integer.
AS_WRITTEN = {"xla_disable_hlo_passes": "algsimp"}


class XlaSession:
    """A program that runs on one device by ``compute``.

    With ``wide``, 64-bit numbers stay as they are; otherwise jax converts them to 32 bits, its default.
    """

    def __init__(
        self,
        info: RuntimeInfo,
        device: Any,
        inputs: Sequence[InputSpec],
        where: str,
        compute: Compute,
        *,
        wide: bool = True,
    ):
        self.info = info
        self.inputs = tuple(inputs)
        self._device = device
        self._where = where
        self._compute = compute
        self._wide = wide

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        return {name: np.asarray(array) for name, array in self._run(self._put(inputs)).items()}

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        placed = self._put(inputs)
        return lambda: jax.block_until_ready(self._run(placed))

    def _put(self, inputs: Arrays) -> dict[str, Any]:
        check_inputs(self.inputs, inputs, self._where)
        with jax.enable_x64(self._wide):
            placed = {name: jax.device_put(array, self._device) for name, array in inputs.items()}
            jax.block_until_ready(placed)
        return placed

    def _run(self, placed: Mapping[str, Any]) -> Mapping[str, Any]:
        with jax.enable_x64(self._wide):
            return self._compute(placed)


def find_device(device: Device) -> Any:
    """The jax device to compute on; raises MachineError if a GPU is requested and absent."""
    # Set before the first use of a backend: a check on the CPU must not reserve memory on a GPU.
    jax.config.update("jax_platforms", "cpu" if device == "cpu" else None)
    if device == "cpu":
        return jax.devices("cpu")[0]
    try:
        return jax.devices("cuda")[0]
    except RuntimeError:
        found = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise absent_gpu(f"JAX {jax.__version__}", found) from None


def describe(name: str, device: Any, module: ir.Module) -> RuntimeInfo:
    """The description of the runtime that computes ``module`` on a jax device."""
    precisions = dot_precisions(module)
    return RuntimeInfo(
        name=name,
        version=jax.__version__,
        device=device.device_kind,
        arithmetic=arithmetic(device.platform, precisions),
        settings={"dot precision in the file": ", ".join(precisions), "threads": str(processors())},
        providers=(device.platform,),
    )


def parse_portable(data: bytes) -> ir.Module:
    """The StableHLO module of a portable artifact (VHLO bytecode)."""
    module: ir.Module = deserialize_portable_artifact(data, ir.Context())
    return module


def dot_precisions(module: ir.Module) -> tuple[str, ...]:
    """The precisions required by the module's dot products, sorted: DEFAULT, HIGH, HIGHEST."""
    with module.context:
        found = {
            stablehlo.PrecisionAttr(precision).value
            for op in walk(module.operation)
            if op.operation.name == "stablehlo.dot_general"
            for precision in op.attributes.get("precision_config") or (stablehlo.PrecisionAttr.get("DEFAULT"),)
        }
    return tuple(sorted(found))


def arithmetic(platform: str, precisions: tuple[str, ...]) -> str:
    """Number format of float32 dot products. On a GPU, XLA uses TF32 unless the file requires the highest precision."""
    return "tf32" if platform == "gpu" and precisions != ("HIGHEST",) else "float32"
