"""The long road to ONNX: jax -> jax2tf -> SavedModel -> tf2onnx, with our lowering inside and our passes behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as oir

from swift_export.converter.passes import run_passes
from swift_export.converter.tf2onnx_handler import Record
from swift_export.converter.through_tf2onnx import through_tf2onnx
from swift_export.formats.metadata import SIGNATURE
from swift_export.lowering.hub import argument_names
from swift_export.lowering.savedmodel import write_savedmodel
from swift_export.lowering.settings import ExportSettings

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["savedmodel_to_onnx"]


def savedmodel_to_onnx(weights: Weights, settings: ExportSettings) -> oir.Model:
    """The forward pass as an ONNX model, made of a SavedModel as any other consumer would find it."""
    names = argument_names(weights.config)
    record = Record(names, {"bold": ("batch", None, None, None, None, None)}, opset=settings.opset)
    with tempfile.TemporaryDirectory() as scratch:
        write_savedmodel(weights, settings, Path(scratch))
        model = through_tf2onnx(Path(scratch) / "savedmodel" / "1", SIGNATURE, record)
    (bold,) = model.graph.inputs
    assert bold.shape is not None
    bold.shape = oir.Shape(["batch" if not isinstance(d, int) else d for d in bold.shape])
    run_passes(model, target=settings.target)
    return model
