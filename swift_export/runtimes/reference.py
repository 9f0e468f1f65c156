"""The reference of every check: the model itself in JAX, with matrix products at the highest precision."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from swift_export.models.model import Model, value_name
from swift_export.runtimes._xla import XlaSession, find_device
from swift_export.runtimes.base import Device, InputSpec, LoadError, Precision, RuntimeInfo
from swift_export.runtimes.reference_file import Reference, read_reference
from swift_export.system.machine import processors

__all__ = ["PRECISION", "load", "session_of"]

PRECISION = "highest"

#: The package of procedures that rebuild models: a file names one of its modules, and no other is imported.
_MODELS = "swift_export.models"


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a file of `write_reference`; XLA compiles the model once per combination of its inputs' shapes."""
    target = find_device(device)
    reference = read_reference(path)
    return session_of(_rebuilt(reference), reference.outputs, reference.places, device=target, where=path.name)


def session_of(
    model: Model,
    outputs: Sequence[str] | None = None,
    places: Sequence[str] = (),
    *,
    device: Any = None,
    where: str | None = None,
) -> XlaSession:
    """A session of a model in this process on a jax device, by default the CPU.

    It returns the outputs of these names, by default all, and the values at the scopes ``places``, by `value_name`.
    """
    device = device or jax.devices("cpu")[0]
    forward = model.reference or model.forward
    names = [spec.name for spec in model.inputs]
    wanted = model.outputs if outputs is None else tuple(outputs)

    @jax.jit
    def everything(weights: Mapping[str, Any], inputs: Sequence[Any]) -> dict[str, Any]:
        found = forward(weights, *inputs) if wanted else {}
        chosen = {name: found[name] for name in wanted}
        if not places:
            return chosen
        from swift_export.models.trace import values_at

        values = values_at(forward, weights, inputs, places)
        return chosen | {value_name(number): values[place] for number, place in enumerate(places)}

    types = [*(spec.dtype for spec in model.inputs), *(array.dtype.name for array in model.weights.values())]
    # Only if needed: enabling 64 bits also changes the type of a function's Python numbers.
    wide = any(name in ("int64", "uint64", "float64", "complex128") for name in types)
    with jax.enable_x64(wide):
        weights = {name: jax.device_put(np.asarray(array), device) for name, array in model.weights.items()}

    def compute(placed: Mapping[str, Any]) -> dict[str, Any]:
        with jax.default_matmul_precision(PRECISION):
            found: dict[str, Any] = everything(weights, [placed[name] for name in names])
        return found

    info = RuntimeInfo(
        name="JAX",
        version=jax.__version__,
        device=device.device_kind,
        arithmetic="float32",
        settings={"jax_default_matmul_precision": PRECISION, "threads": str(processors())},
        providers=(device.platform,),
    )
    # Items are independent: the reference computes each separately, for any batch size of the exported function.
    free = 1 if model.batched else 0
    specs = [
        InputSpec(
            spec.name,
            spec.dtype,
            tuple(n if isinstance(n, int) and axis >= free else None for axis, n in enumerate(spec.dims)),
        )
        for spec in model.inputs
    ]
    return XlaSession(info, device, specs, where or model.name, compute, wide=wide)


def _rebuilt(reference: Reference) -> Model:
    module = reference.rebuild.module
    if not module.startswith(f"{_MODELS}."):
        raise LoadError(f"{module}: expected a module of {_MODELS}, which rebuilds the model")
    model: Model = importlib.import_module(module).rebuild(reference.rebuild.arguments, reference.weights)
    return model
