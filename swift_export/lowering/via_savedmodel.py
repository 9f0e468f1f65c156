"""The long road to ONNX: jax -> jax2tf -> SavedModel -> tf2onnx, with our lowering inside and our passes behind."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as oir

from swift_export.errors import UsageError
from swift_export.lowering.hub import argument_names
from swift_export.lowering.onnx.passes import run_passes
from swift_export.lowering.onnx.tf2onnx_handler import Record, tf2onnx_handlers, tf2onnx_prepared
from swift_export.lowering.opsets import ir_version
from swift_export.lowering.savedmodel import SIGNATURE, import_tensorflow, write_savedmodel
from swift_export.lowering.settings import ExportSettings

if TYPE_CHECKING:
    from swift_export.weights import Weights

__all__ = ["savedmodel_to_onnx"]

#: The newest that tf2onnx 1.17 writes. Nothing that is written changed its meaning since.
TF2ONNX_OPSET = 18


def savedmodel_to_onnx(weights: Weights, settings: ExportSettings) -> oir.Model:
    """The forward pass as an ONNX model, made of a SavedModel as any other consumer would find it."""
    tf = import_tensorflow()
    try:
        from tf2onnx import tf_loader, tfonnx
    except ImportError:
        raise UsageError(
            "--via savedmodel: tf2onnx is not installed: install the extra, pip install 'swift-export[savedmodel]'"
        ) from None
    # Its progress is of no use to the caller; errors are raised.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    record = Record(argument_names(weights.config), {"bold": ("batch", None, None, None, None, None)})
    with tempfile.TemporaryDirectory() as scratch, tf2onnx_prepared():
        write_savedmodel(weights, settings, Path(scratch))
        frozen, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
            str(Path(scratch) / "savedmodel" / "1"),
            None,
            None,
            tag=["serve"],
            signatures=[SIGNATURE],
            return_initialized_tables=True,
            return_tensors_to_rename=True,
        )
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = tfonnx.process_tf_graph(
                graph,
                opset=TF2ONNX_OPSET,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename=renamed,
                initialized_tables=tables,
                custom_op_handlers=tf2onnx_handlers(record),
            )
        return _finished(converted.make_model("swift"), record, settings)


def _finished(proto: Any, record: Record, settings: ExportSettings) -> oir.Model:
    model: oir.Model = oir.from_proto(proto)
    # tf2onnx makes every constant a node.
    oir.passes.common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    record.restore(model.graph)
    model.graph.opset_imports.clear()
    model.graph.opset_imports[""] = settings.opset
    model.ir_version = ir_version(settings.opset)
    (bold,) = model.graph.inputs
    assert bold.shape is not None
    bold.shape = oir.Shape(["batch" if not isinstance(d, int) else d for d in bold.shape])
    run_passes(model, target=settings.target)
    return model
