"""SavedModel with StableHLO to ONNX: tf2onnx translates TensorFlow's operators, our lowering the StableHLO."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as oir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from swift_export.converter.opsets import DEFAULT_OPSET, ir_version
from swift_export.converter.tf2onnx_handler import Record, tf2onnx_handlers
from swift_export.converter.tf2onnx_shapes import complete_shapes
from swift_export.errors import LoweringError, SwiftExportError, UsageError
from swift_export.formats.metadata import TAG
from swift_export.system.tensorflow import import_tensorflow
from swift_export.system.text import error_line

__all__ = ["TF2ONNX_OPSET", "quiet_tensorflow", "through_tf2onnx"]

#: The newest opset that tf2onnx 1.17 writes.
TF2ONNX_OPSET = 18
#: Operators with another meaning from an opset on. Up to opset 26, onnx's own version converter changes only these, so
#: a file without them can declare a newer opset unchanged.
_CHANGED = {"DFT": 20, "GridSample": 20, "GroupNormalization": 21}


def through_tf2onnx(folder: Path, signature: str, record: Record, tags: Sequence[str] = (TAG,)) -> oir.Model:
    """Convert a SavedModel's signature to an ONNX model, before any pass; ``record`` has facts about its module.

    Raises LoweringError for operators without a rule in tf2onnx or here, UsageError for an opset that tf2onnx's part
    does not allow.
    """
    tf = import_tensorflow()
    try:
        from tf2onnx import tf_loader, tfonnx
    except ImportError:
        raise UsageError(
            "tf2onnx is not installed: install the extra, pip install 'swift-export[savedmodel]'"
        ) from None
    record.raised = True
    try:
        with quiet_tensorflow(), tf2onnx_handlers(record) as handlers:
            frozen, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
                str(folder),
                None,
                None,
                tag=list(tags),
                signatures=[signature],
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
                    custom_op_handlers=handlers,
                )
            proto = converted.make_model("main")
    except SwiftExportError:
        raise
    except Exception as error:  # tf2onnx's and TensorFlow's errors have no common type
        raise LoweringError(f"tf2onnx cannot convert the signature {signature}: {error_line(error)}") from None
    return _model(proto, record)


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Suppress TensorFlow's warnings about gradients, which are not used here."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _model(proto: Any, record: Record) -> oir.Model:
    model: oir.Model = oir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for node in model.graph.all_nodes():
        if not node.domain and not onnx.defs.has(node.op_type):
            raise LoweringError(f"TensorFlow's operator {node.op_type} (node {node.name}): tf2onnx has no rule for it")
    # tf2onnx turns every constant into a node.
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    record.restore(model.graph)
    complete_shapes(model)
    opset = _opset({node.op_type for node in model.graph.all_nodes()}, record)
    model.graph.opset_imports.clear()
    model.graph.opset_imports[""] = opset
    model.ir_version = ir_version(opset)
    return model


def _opset(operators: set[str], record: Record) -> int:
    """The file's opset: as requested, or the newest up to the default in which all operators keep their meaning."""
    limits = {name: _CHANGED[name] for name in operators & set(_CHANGED)}
    wanted = record.opset or max(DEFAULT_OPSET, record.reached)
    newest = min(limits.values(), default=wanted + 1) - 1
    needed = record.opset or max(TF2ONNX_OPSET, record.reached)
    if needed > newest:
        raise UsageError(
            f"--opset {needed}: tf2onnx writes {', '.join(sorted(limits))} with an older meaning; expected at most "
            f"{newest}"
        )
    return min(wanted, newest)
