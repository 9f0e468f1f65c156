"""The StableHLO artifact: a jax.export file and portable bytecode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from swift_export.formats.signature import TensorSpec
from swift_export.lowering.lower import lower_closed
from swift_export.lowering.metadata import essentials
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.portable import portable
from swift_export.models import Model
from swift_export.models.drawing import default_sizes

__all__ = ["JAX_PLATFORMS", "write_stablehlo"]

JAX_PLATFORMS = ("cpu", "cuda")


def write_stablehlo(model: Model, folder: Path, onnx: OnnxSettings | None = None) -> None:
    """Write ``stablehlo/model.jax``, ``model.mlir.bc`` and ``model.b1.mlir.bc`` below ``folder``.

    ``model.jax`` runs on cpu and cuda through ``jax.export.deserialize``. The portable files have ``main(*inputs)`` and
    are lowered for one platform: several would require an additional input that only jax can fill. All sizes of
    ``model.b1.mlir.bc`` are fixed, the batch size to 1. ``onnx`` is recorded in the files.
    """
    target = folder / "stablehlo"
    target.mkdir(parents=True, exist_ok=True)
    lowered = lower_closed(model, platforms=JAX_PLATFORMS)
    facts = essentials(model, onnx or OnnxSettings(), lowered.outputs)
    exported = replace(lowered.exported, mlir_module_serialized=portable(lowered.module, facts))
    (target / "model.jax").write_bytes(exported.serialize())
    for name, fixed in (("model.mlir.bc", model), ("model.b1.mlir.bc", _static(model))):
        (target / name).write_bytes(portable(lower_closed(fixed).module, facts))


def _static(model: Model) -> Model:
    """The model with every dimension fixed: batch 1, and the first of the sizes that a check uses."""
    (sizes, *_) = default_sizes(model)

    def size(spec: TensorSpec, axis: int) -> int:
        dim = spec.dims[axis]
        if model.batched and axis == 0:
            return 1
        return sizes[dim] if isinstance(dim, str) else dim

    inputs = (replace(spec, dims=tuple(size(spec, axis) for axis in range(len(spec.dims)))) for spec in model.inputs)
    return replace(model, inputs=tuple(inputs))
