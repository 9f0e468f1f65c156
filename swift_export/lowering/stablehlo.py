"""The StableHLO artifact: jax.export's own form and portable bytecode."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jax import export
from jax.extend.mlir import ir, serialize_portable_artifact

from swift_export.lowering.hub import lower_closed
from swift_export.lowering.metadata import METADATA_ATTRIBUTE, essentials
from swift_export.lowering.onnx.module import read_module
from swift_export.lowering.settings import ExportSettings

if TYPE_CHECKING:
    from swift_export.weights import Weights

__all__ = ["JAX_PLATFORMS", "PORTABLE_VERSION", "write_stablehlo"]

JAX_PLATFORMS = ("cpu", "cuda")
#: StableHLO of late 2024: consumers of that age and younger read it. StableHLO promises 5 years.
PORTABLE_VERSION = "1.8.0"


def write_stablehlo(weights: Weights, settings: ExportSettings, folder: Path) -> None:
    """Write ``stablehlo/model.jax``, ``model.mlir.bc`` and ``model.b1.mlir.bc`` below ``folder``.

    ``model.jax`` serves cpu and cuda through ``jax.export.deserialize``; the portable files have ``main(bold)`` and
    are lowered for one platform: several would give them an input that only jax knows how to fill.
    """
    settings.check(weights.config)
    target = folder / "stablehlo"
    target.mkdir(parents=True, exist_ok=True)
    facts = essentials(weights, settings)

    exported = lower_closed(weights.config, weights.tensors, settings, platforms=JAX_PLATFORMS)
    exported = dataclasses.replace(exported, mlir_module_serialized=_portable(exported, facts))
    (target / "model.jax").write_bytes(exported.serialize())
    for name, batch in (("model.mlir.bc", settings.batch), ("model.b1.mlir.bc", 1)):
        one_platform = lower_closed(weights.config, weights.tensors, dataclasses.replace(settings, batch=batch))
        (target / name).write_bytes(_portable(one_platform, facts))


def _portable(exported: export.Exported, facts: Mapping[str, str]) -> bytes:
    """The module as portable bytecode of the pinned version, with the essentials as an attribute."""
    module = read_module(exported.mlir_module_serialized)
    with module.context:
        text = json.dumps(facts, sort_keys=True)
        module.operation.attributes[METADATA_ATTRIBUTE] = ir.StringAttr.get(text)
        return bytes(serialize_portable_artifact(module, PORTABLE_VERSION))
