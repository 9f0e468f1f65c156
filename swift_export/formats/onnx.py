"""Facts of ONNX files, read without a runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from swift_export.formats.element_types import from_onnx
from swift_export.formats.facts import Facts, histogram
from swift_export.formats.signature import UNNAMED, Signature, TensorSpec

__all__ = ["read_onnx"]


def read_onnx(path: Path) -> Facts:
    """Signature, versions, size and ops of a file; weights in external files are not read."""
    model = onnx.load_model_from_string(path.read_bytes())
    if not model.HasField("graph"):
        raise ValueError("expected a graph, found none")
    graph = model.graph
    details = {
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "nodes": len(graph.node),
        "ops": histogram(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in graph.node),
        "initializers": len(graph.initializer),
        "initializer_bytes": sum(len(tensor.raw_data) or tensor.ByteSize() for tensor in graph.initializer),
        "external_data": any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised]
    return Facts("onnx", Signature(_specs(inputs), _specs(graph.output)), details)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or UNNAMED for d in kind.shape.dim)
        return TensorSpec(value.name, from_onnx(onnx.TensorProto.DataType.Name(kind.elem_type)), dims)

    return tuple(spec(value) for value in values)
