"""The indirect pipeline to ONNX: jax -> jax2tf -> SavedModel -> tf2onnx with our converter, then our passes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx_ir as oir

from swift_export.converter.passes import run_passes
from swift_export.converter.tf2onnx_handler import Record
from swift_export.converter.through_tf2onnx import through_tf2onnx
from swift_export.formats.metadata import SIGNATURE
from swift_export.lowering.lower import Lowered
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.savedmodel import write_savedmodel
from swift_export.models import Model

__all__ = ["savedmodel_to_onnx"]


def savedmodel_to_onnx(model: Model, lowered: Lowered, settings: OnnxSettings) -> oir.Model:
    """The model as ONNX, made from a SavedModel like that of any other user."""
    dims = {spec.name: tuple(dim if isinstance(dim, str) else None for dim in spec.dims) for spec in model.inputs}
    record = Record(list(lowered.arguments), dims, opset=settings.opset)
    with tempfile.TemporaryDirectory() as scratch:
        write_savedmodel(model, Path(scratch), settings)
        converted = through_tf2onnx(Path(scratch) / "savedmodel" / "1", SIGNATURE, record)
    shapes = {spec.name: spec.dims for spec in model.inputs}
    for value in converted.graph.inputs:
        value.shape = oir.Shape(shapes[str(value.name)])
    run_passes(converted, target=settings.target)
    return converted
