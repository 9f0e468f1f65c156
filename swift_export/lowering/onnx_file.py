"""The ONNX artifact: the hub's module through the StableHLO -> ONNX lowering."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as oir

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import UsageError
from swift_export.lowering.hub import argument_names, lower_open, result_names
from swift_export.lowering.metadata import essentials
from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.forms import Forms, choose_forms

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["ROADS", "backbone_to_onnx", "write_onnx"]

#: Ways from the forward pass to ONNX: straight, or through jax2tf's SavedModel and tf2onnx.
ROADS = ("stablehlo", "savedmodel")


def write_onnx(weights: Weights, settings: ExportSettings, folder: Path, via: str = "stablehlo") -> None:
    """Write ``onnx/model.onnx`` below ``folder`` for the settings' target, weights under their checkpoint names."""
    settings.check(weights.config)
    if via not in ROADS:
        raise UsageError(f"--via {via}: expected {' or '.join(ROADS)}")
    forms = choose_forms(weights.config, weights.tensors, settings)
    if via == "savedmodel":
        from swift_export.lowering.via_savedmodel import savedmodel_to_onnx

        model = savedmodel_to_onnx(weights, settings)
    else:
        model = backbone_to_onnx(weights.config, weights.tensors, settings, forms)
    finish(model, settings)
    model.graph.name = f"swift-{weights.variant}"
    model.doc_string = "SwiFT backbone, 4D Swin transformer for fMRI (arXiv:2307.05916)"
    model.metadata_props.update(essentials(weights, settings, forms) | {"swift_export.via": via})
    proto = oir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    target = folder / "onnx"
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.onnx").write_bytes(proto.SerializeToString(deterministic=True))


def backbone_to_onnx(
    config: SwiFTConfig, tensors: Mapping[str, np.ndarray], settings: ExportSettings, forms: Forms
) -> oir.Model:
    """The forward pass as an ONNX model; initializers keep names, layout and bits of the checkpoint's tensors.

    Those of ``attn.qkv`` are cut into queries', keys' and values' parts, ``NAME[0:36]`` and so on.
    """
    exported = lower_open(config, settings, forms)
    return stablehlo_to_onnx(
        exported.mlir_module_serialized,
        constants={name: np.asarray(tensors[name], np.float32) for name in parameter_shapes(config)},
        argument_names=argument_names(config),
        result_names=result_names(settings),
        dim_names={"bold": ("batch", None, None, None, None, None)},
        opset=settings.opset,
        target=settings.target,
    )


def finish(model: oir.Model, settings: ExportSettings) -> None:
    """Outputs in the order that was asked for, and names for all their dimensions."""
    by_name = {value.name: value for value in model.graph.outputs}
    model.graph.outputs.clear()
    model.graph.outputs.extend(by_name[name] for name in settings.outputs)
