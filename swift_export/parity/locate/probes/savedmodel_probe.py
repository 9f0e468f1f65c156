"""Probes of SavedModels: the module inside the one operation is replaced; the weights become constants."""

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
from swift_export.system.tensorflow import named_parameters

__all__ = ["places_in", "write_probe"]


def places_in(path: Path, places: Sequence[str]) -> list[str]:
    """The places of ``places`` whose values the inner module computes."""
    _, call, _ = _frozen(path)
    return modules.places_in(call.attr["module"].s, places)


def write_probe(path: Path, places: Sequence[str], _: Sequence[Sequence[int]], out: Path) -> list[str]:
    """Write a SavedModel whose serving signature gives those values of ``places`` that the module inside computes.

    Returns their places.
    """
    graph, call, inputs = _frozen(path)
    known = modules.places_in(call.attr["module"].s, places)
    if not known:
        return known
    probe, kinds = modules.probe_module(call.attr["module"].s, known)
    call.attr["module"].s = probe
    call.attr["Tout"].list.type[:] = [tf.as_dtype(dtype).as_datatype_enum for _, dtype in kinds]
    del call.attr["Sout"].list.shape[:]
    call.attr["Sout"].list.shape.extend(tf.TensorShape(shape).as_proto() for shape, _ in kinds)
    elements = [f"{call.name}:{number}" for number in range(len(kinds))]
    _leave_out_what_follows(graph, call)

    def serve(*arrays: Any) -> dict[str, Any]:
        values = tf.graph_util.import_graph_def(graph, dict(zip(inputs, arrays, strict=True)), elements, name="")
        return {value_name(number): value for number, value in enumerate(values)}

    named_parameters(serve, [str(spec.name) for spec in inputs.values()])
    module = tf.Module()
    module.serve = tf.function(serve, autograph=False, input_signature=list(inputs.values()))
    tf.saved_model.save(module, str(out), signatures={SIGNATURE: module.serve})
    return known


def _leave_out_what_follows(graph: Any, call: Any) -> None:
    """Keep only the nodes that an operation needs; users of its results expect the former ones."""
    nodes, kept = {node.name: node for node in graph.node}, {call.name}
    left = [call]
    while left:
        sources = {name.lstrip("^").split(":")[0] for name in left.pop().input} - kept
        kept |= sources
        left += [nodes[name] for name in sources]
    wanted = [node for node in graph.node if node.name in kept]
    del graph.node[:]
    graph.node.extend(wanted)


def _frozen(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The serving function as one graph with constant weights, its operation with the module, and its inputs.

    Inputs are specifications with the signature's names, by the graph's own names.
    """
    loaded = tf.saved_model.load(str(path))
    frozen = convert_variables_to_constants_v2(loaded.signatures[SIGNATURE])
    graph = frozen.graph.as_graph_def()
    calls = xla_calls(graph)
    if len(calls) != 1:
        raise LoweringError(f"{path.name}: expected one {XLA_CALL}, found {len(calls)}")
    named = loaded.signatures[SIGNATURE].structured_input_signature[1]
    # In the order of their names, as TensorFlow flattens keyword arguments.
    inputs = {
        tensor.op.name: tf.TensorSpec(named[name].shape, named[name].dtype, name=name)
        for tensor, name in zip(frozen.inputs, sorted(named), strict=True)
    }
    return graph, calls[0], inputs
