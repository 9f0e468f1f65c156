"""The signature that a SavedModel is served by, as adapters need it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from swift_export.formats import savedmodel
from swift_export.formats.metadata import SIGNATURE
from swift_export.formats.signature import TensorSpec
from swift_export.runtimes.base import InputSpec

__all__ = ["ServingSignature", "read_signature"]

#: A tensor's name as TensorFlow forms it. Adapters pass it on as a word of a line, where a blank would begin another.
_PLACE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*(:\d+)?")


@dataclass(frozen=True)
class ServingSignature:
    """Inputs and outputs by name; ``places`` are the names that both have in the graph."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    places: dict[str, str]


def read_signature(path: Path) -> ServingSignature:
    """Of the SavedModel in a folder; raises ValueError where it has none, and protobuf's error for a damaged file."""
    graph = savedmodel.serving_graph(path)
    serving = graph.signature_def[SIGNATURE]
    places = {name: value.name for name, value in (*serving.inputs.items(), *serving.outputs.items())}
    for name, place in places.items():
        if not _PLACE.fullmatch(place):
            raise ValueError(f"{name}: expected the name of a tensor in the graph, found {place[:80]!r}")
    found = savedmodel.signature_of(graph, {})
    return ServingSignature(tuple(map(_spec, found.inputs)), tuple(spec.name for spec in found.outputs), places)


def _spec(spec: TensorSpec) -> InputSpec:
    return InputSpec(spec.name, spec.dtype, tuple(n if isinstance(n, int) else None for n in spec.dims))
