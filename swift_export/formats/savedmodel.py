"""Facts of a SavedModel folder; TensorFlow is used for its protobuf classes alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from swift_export.formats.facts import Facts, essentials_in, histogram
from swift_export.formats.signature import Signature, TensorSpec

__all__ = ["read_savedmodel"]


def read_savedmodel(path: Path) -> Facts:
    """Signature ``serving_default``, tags, TensorFlow's version and the ops of all functions."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    if len(model.meta_graphs) != 1 or "serving_default" not in model.meta_graphs[0].signature_def:
        raise ValueError("expected one graph with the signature serving_default")
    graph = model.meta_graphs[0]
    asset = path / "assets" / "swift_export.json"
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    calls = [node for node in nodes if node.op == "XlaCallModule"]
    details = {
        "tags": list(graph.meta_info_def.tags),
        "tensorflow": graph.meta_info_def.tensorflow_version,
        "signatures": sorted(name for name in graph.signature_def if not name.startswith("__")),
        "ops": histogram(node.op for node in nodes),
        "platforms": sorted({name.decode() for node in calls for name in node.attr["platforms"].list.s}),
        "module_bytes": sum(len(node.attr["module"].s) for node in calls),
        "metadata": essentials_in(asset.read_bytes()) if asset.is_file() else {},
    }
    serving = graph.signature_def["serving_default"]
    return Facts("savedmodel", Signature(_tf_specs(serving.inputs), _tf_specs(serving.outputs)), details)


def _tf_specs(values: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    def spec(name: str, value: Any) -> TensorSpec:
        dtype = types_pb2.DataType.Name(value.dtype).removeprefix("DT_").lower()
        sizes = enumerate(dim.size for dim in value.tensor_shape.dim)
        dims = tuple(("?" if i else "batch") if size < 0 else size for i, size in sizes)
        return TensorSpec(name, "float32" if dtype == "float" else dtype, dims)

    return tuple(spec(name, values[name]) for name in sorted(values))
