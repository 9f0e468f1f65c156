"""Facts of SavedModels, read with TensorFlow's protobuf classes and without its runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from swift_export.formats.argument_names import stated_signature
from swift_export.formats.element_types import from_tensorflow
from swift_export.formats.facts import Facts, histogram
from swift_export.formats.metadata import METADATA_ASSET, SAVEDMODEL_FILE, SIGNATURE, TAG, XLA_CALL, essentials_in
from swift_export.formats.signature import UNNAMED, Signature, TensorSpec, with_names

__all__ = [
    "essentials",
    "nodes",
    "parse",
    "platforms",
    "read_graphs",
    "read_savedmodel",
    "serving_graph",
    "signature_of",
    "xla_calls",
]


def parse(data: bytes) -> Any:
    """The message in ``saved_model.pb``; raises protobuf's DecodeError for a damaged file."""
    return saved_model_pb2.SavedModel.FromString(data)


def read_graphs(path: Path) -> Sequence[Any]:
    """The graphs of the SavedModel in a folder, with their tags and signatures."""
    graphs: Sequence[Any] = parse((path / SAVEDMODEL_FILE).read_bytes()).meta_graphs
    return graphs


def serving_graph(path: Path) -> Any:
    """The graph for serving; raises ValueError unless there is exactly one, with a signature."""
    graphs = [graph for graph in read_graphs(path) if TAG in graph.meta_info_def.tags]
    if len(graphs) != 1 or SIGNATURE not in graphs[0].signature_def:
        raise ValueError(f"expected one graph with the tag {TAG} and the signature {SIGNATURE}")
    return graphs[0]


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes of a ``GraphDef``, including those of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def xla_calls(graph: Any) -> list[Any]:
    """The nodes of a ``GraphDef`` with StableHLO in their attribute ``module``."""
    return [node for node in nodes(graph) if node.op == XLA_CALL]


def platforms(call: Any) -> tuple[str, ...]:
    """The platforms of such a node's module, in TensorFlow's spelling: ``CPU``, ``CUDA``."""
    return tuple(name.decode() for name in call.attr["platforms"].list.s)


def essentials(path: Path) -> dict[str, str]:
    """The essentials in the SavedModel's asset; empty unless an export wrote them."""
    asset = path / "assets" / METADATA_ASSET
    return essentials_in(asset.read_bytes()) if asset.is_file() else {}


def signature_of(graph: Any, stated: Mapping[str, str]) -> Signature:
    """``serving_default`` of a graph, with the order and the names of unknown dimensions from the file's essentials."""
    serving = graph.signature_def[SIGNATURE]
    names = stated_signature(stated)
    return Signature(
        _as_stated(_specs(serving.inputs), names.inputs if names else ()),
        _as_stated(_specs(serving.outputs), names.outputs if names else ()),
    )


def read_savedmodel(path: Path) -> Facts:
    """Signature ``serving_default``, tags, TensorFlow's version and the ops of all functions."""
    graph = serving_graph(path)
    calls, metadata = xla_calls(graph.graph_def), essentials(path)
    details = {
        "tags": list(graph.meta_info_def.tags),
        "tensorflow": graph.meta_info_def.tensorflow_version,
        "signatures": sorted(name for name in graph.signature_def if not name.startswith("__")),
        "ops": histogram(node.op for function in graph.graph_def.library.function for node in function.node_def),
        "platforms": sorted({name for call in calls for name in platforms(call)}),
        "module_bytes": sum(len(call.attr["module"].s) for call in calls),
        "metadata": metadata,
    }
    return Facts("savedmodel", signature_of(graph, metadata), details)


def _as_stated(specs: Sequence[TensorSpec], stated: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """``specs`` in the order and with the names of ``stated``: TensorFlow itself keeps neither."""
    places = {spec.name: place for place, spec in enumerate(stated)}
    return with_names(sorted(specs, key=lambda spec: places.get(spec.name, len(places))), stated)


def _specs(values: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    def spec(name: str, value: Any) -> TensorSpec:
        dtype = from_tensorflow(types_pb2.DataType.Name(value.dtype))
        # TensorFlow has no names for unknown dimensions.
        return TensorSpec(name, dtype, tuple(UNNAMED if dim.size < 0 else dim.size for dim in value.tensor_shape.dim))

    return tuple(spec(name, values[name]) for name in sorted(values))
