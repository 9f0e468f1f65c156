"""The serving signature of a SavedModel, in the form for adapters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from swift_export.formats import savedmodel
from swift_export.formats.metadata import SIGNATURE
from swift_export.formats.signature import TensorSpec
from swift_export.runtimes.base import InputSpec

__all__ = ["ServingSignature", "read_signature"]

#: The form of a tensor's name in TensorFlow. Adapters send it as one word of a line, so it must not contain blanks.
_PLACE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*(:\d+)?")


@dataclass(frozen=True)
class ServingSignature:
    """Inputs and outputs by name; ``places`` are their names in the graph."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    places: dict[str, str]


def read_signature(path: Path) -> ServingSignature:
    """The signature of a SavedModel; raises ValueError if it has none, and protobuf's error for a damaged file."""
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
