"""The signature that a SavedModel is served by; TensorFlow is used for its protobuf classes alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from swift_export.formats.metadata import SIGNATURE, TAG
from swift_export.runtimes.base import InputSpec

__all__ = ["Signature", "read_signature"]

_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}

#: A tensor's name as TensorFlow forms it. Adapters pass it on as a word of a line, where a blank would begin another.
_PLACE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*(:\d+)?")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs by name; ``places`` are the names that both have in the graph."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    places: dict[str, str]


def read_signature(path: Path) -> Signature:
    """Of the SavedModel in a folder; raises ValueError where it has none, and protobuf's error for a damaged file."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graphs = [graph for graph in model.meta_graphs if TAG in graph.meta_info_def.tags]
    if len(graphs) != 1 or SIGNATURE not in graphs[0].signature_def:
        raise ValueError(f"expected one graph with the tag {TAG} and the signature {SIGNATURE}")
    serving = graphs[0].signature_def[SIGNATURE]
    places = {name: value.name for name, value in (*serving.inputs.items(), *serving.outputs.items())}
    for name, place in places.items():
        if not _PLACE.fullmatch(place):
            raise ValueError(f"{name}: expected the name of a tensor in the graph, found {place[:80]!r}")
    return Signature(
        tuple(_spec(name, serving.inputs[name]) for name in sorted(serving.inputs)),
        tuple(sorted(serving.outputs)),
        places,
    )


def _spec(name: str, value: Any) -> InputSpec:
    dtype = types_pb2.DataType.Name(value.dtype)
    shape = tuple(None if dim.size < 0 else dim.size for dim in value.tensor_shape.dim)
    return InputSpec(name, _DTYPES.get(dtype, dtype), shape)
