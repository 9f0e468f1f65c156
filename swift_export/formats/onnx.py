"""Facts of ONNX files, read without a runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import onnx

from swift_export.formats.element_types import from_onnx
from swift_export.formats.facts import Facts, histogram
from swift_export.formats.signature import UNNAMED, Signature, TensorSpec
from swift_export.system.text import shown

__all__ = ["read_onnx"]


def read_onnx(path: Path) -> Facts:
    """Signature, versions, size and ops of a file; weights in external files are not read.

    Raises ValueError unless all of these are files in its folder that hold the weights.
    """
    model = onnx.load_model_from_string(path.read_bytes())
    if not model.HasField("graph"):
        raise ValueError("expected a graph, found none")
    graph = model.graph
    external = {_file_of(tensor, path.parent) for tensor in _tensors(model) if _is_external(tensor)}
    details = {
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "nodes": len(graph.node),
        "ops": histogram(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in graph.node),
        "initializers": len(graph.initializer),
        "initializer_bytes": sum(map(_bytes, graph.initializer)),
        "external_data": bool(external),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }
    if external:
        details["data_files"] = {file.name: file.stat().st_size for file in sorted(external)}
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised]
    return Facts("onnx", Signature(_specs(inputs), _specs(graph.output)), details)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or UNNAMED for d in kind.shape.dim)
        return TensorSpec(value.name, from_onnx(onnx.TensorProto.DataType.Name(kind.elem_type)), dims)

    return tuple(spec(value) for value in values)


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """All tensors in a message, in bodies and functions, too."""
    for field, content in message.ListFields():
        if field.message_type is not None:
            for inner in content if isinstance(content, Sequence) else [content]:
                if isinstance(inner, onnx.TensorProto):
                    yield inner
                else:
                    yield from _tensors(inner)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _file_of(tensor: onnx.TensorProto, folder: Path) -> Path:
    """The file that holds a tensor's elements: one in the folder, none elsewhere that a path or a link leads to."""
    place: dict[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location, what = place.get("location", ""), f"tensor {shown(tensor.name)}"
    if PurePath(location).name != location or "\\" in location or location in ("", ".."):
        raise ValueError(f"{what}: expected its elements in a file beside the model, found the path {shown(location)}")
    path = folder / location
    if path.resolve() != folder.resolve() / location:
        raise ValueError(f"{what}: expected its elements in a plain file beside the model, found the link {location}")
    if not path.is_file():
        raise ValueError(f"{what}: its file {shown(location)} is missing beside the model; copy it there, too")
    size, offset = path.stat().st_size, int(place.get("offset", 0))
    length = int(place.get("length", size - offset))
    if not 0 <= offset <= offset + length <= size:
        raise ValueError(
            f"{what}: expected {length} bytes at {offset} in {shown(location)}, found a file of {size}; copy it again"
        )
    return path


def _bytes(tensor: onnx.TensorProto) -> int:
    if _is_external(tensor):
        return sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
    return len(tensor.raw_data) or tensor.ByteSize()
