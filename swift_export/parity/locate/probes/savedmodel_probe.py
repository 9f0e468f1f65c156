"""Probes of SavedModels: the module inside their one operation is exchanged, the weights are kept as constants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from swift_export.errors import LoweringError
from swift_export.formats.metadata import SIGNATURE, XLA_CALL
from swift_export.formats.savedmodel import xla_calls
from swift_export.models.model import value_name
from swift_export.parity.locate.probes import modules

__all__ = ["places_in", "write_probe"]


def places_in(path: Path, places: Sequence[str]) -> list[str]:
    """Those of ``places`` whose values the module inside computes."""
    _, call = _frozen(path)
    return modules.places_in(call.attr["module"].s, places)


def write_probe(path: Path, places: Sequence[str], out: Path) -> None:
    """Write a SavedModel whose serving signature gives the values at ``places``."""
    graph, call = _frozen(path)
    probe, shapes = modules.probe_module(call.attr["module"].s, places)
    call.attr["module"].s = probe
    call.attr["Tout"].list.type[:] = [tf.float32.as_datatype_enum] * len(shapes)
    del call.attr["Sout"].list.shape[:]
    call.attr["Sout"].list.shape.extend(tf.TensorShape(shape).as_proto() for shape in shapes)
    (placeholder,) = (node for node in graph.node if node.op == "Placeholder")
    signature = tf.TensorSpec(tf.TensorShape(placeholder.attr["shape"].shape), tf.float32, name=placeholder.name)
    elements = [f"{call.name}:{number}" for number in range(len(shapes))]

    def serve(bold: Any) -> dict[str, Any]:
        values = tf.graph_util.import_graph_def(graph, {placeholder.name: bold}, elements, name="")
        return {value_name(number): value for number, value in enumerate(values)}

    module = tf.Module()
    module.serve = tf.function(serve, autograph=False, input_signature=[signature])
    tf.saved_model.save(module, str(out), signatures={SIGNATURE: module.serve})


def _frozen(path: Path) -> tuple[Any, Any]:
    """The serving function as one graph with its weights as constants, and the operation that does the work."""
    loaded = tf.saved_model.load(str(path))
    graph = convert_variables_to_constants_v2(loaded.signatures[SIGNATURE]).graph.as_graph_def()
    calls = xla_calls(graph)
    if len(calls) != 1:
        raise LoweringError(f"{path.name}: expected one {XLA_CALL}, found {len(calls)}")
    return graph, calls[0]
