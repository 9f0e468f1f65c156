"""The StableHLO artifact: jax.export's own form and portable bytecode."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from swift_export.lowering.hub import lower_closed
from swift_export.lowering.metadata import essentials
from swift_export.lowering.portable import portable
from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.forms import choose_forms

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["JAX_PLATFORMS", "write_stablehlo"]

JAX_PLATFORMS = ("cpu", "cuda")


def write_stablehlo(weights: Weights, settings: ExportSettings, folder: Path) -> None:
    """Write ``stablehlo/model.jax``, ``model.mlir.bc`` and ``model.b1.mlir.bc`` below ``folder``.

    ``model.jax`` serves cpu and cuda through ``jax.export.deserialize``; the portable files have ``main(bold)`` and
    are lowered for one platform: several would give them an input that only jax knows how to fill.
    """
    settings.check(weights.config)
    target = folder / "stablehlo"
    target.mkdir(parents=True, exist_ok=True)
    forms = choose_forms(weights.config, weights.tensors, settings)
    facts = essentials(weights, settings, forms)

    exported = lower_closed(weights.config, weights.tensors, settings, forms, platforms=JAX_PLATFORMS)
    exported = dataclasses.replace(exported, mlir_module_serialized=portable(exported.mlir_module_serialized, facts))
    (target / "model.jax").write_bytes(exported.serialize())
    for name, batch in (("model.mlir.bc", settings.batch), ("model.b1.mlir.bc", 1)):
        fixed = dataclasses.replace(settings, batch=batch)
        one_platform = lower_closed(weights.config, weights.tensors, fixed, forms)
        (target / name).write_bytes(portable(one_platform.mlir_module_serialized, facts))
