"""What an artifact with integer weights says of its making, in the manifest and in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from swift_export.errors import ArtifactError
from swift_export.system.plain_data import SchemaError, decode, encode, loads
from swift_export.system.text import shown

__all__ = ["BITS", "METHODS", "Calibration", "Effect", "Quantization", "quantization_in", "quantization_of_file"]

#: Bits of weights by method.
BITS = {"int8": 8, "weights-int8": 8, "weights-int4": 4}
METHODS = tuple(BITS)


@dataclass(frozen=True)
class Calibration:
    """An input that activations were measured on: its name, the SHA-256 of its arrays, and the number of items."""

    name: str
    sha256: str
    items: int


@dataclass(frozen=True)
class Effect:
    """The error of one output on one input that no calibration used; ``reference`` is what it differs from."""

    input: str
    output: str
    relative_l2: float
    relative_max: float
    cosine: float | None
    reference: str


@dataclass(frozen=True)
class Quantization:
    """The method, the float32 file (``source``, its SHA-256), and the number of products with and without integers.

    ``activations`` says how activations are rounded. The manifest adds the measurements: errors, ``time_ratio``, the
    time of a call over that of the float32 file in the same process, the sizes of both files in bytes, and the
    tolerance of checks with its reason. A single file has none.
    """

    method: str
    source: str
    products: int
    kept: int
    activations: str
    calibration: tuple[Calibration, ...] = ()
    effects: tuple[Effect, ...] = ()
    time_ratio: float | None = None
    size: int | None = None
    source_size: int | None = None
    relative_l2: float | None = None
    relative_max: float | None = None
    reason: str | None = None

    @property
    def essentials(self) -> str:
        """The facts for the file's metadata, as JSON."""
        return json.dumps(encode(replace(self, effects=())), sort_keys=True)


def quantization_in(details: Mapping[str, Any], where: object) -> Quantization | None:
    """The record in a manifest's details of an artifact; None if it has no integer weights.

    Raises ArtifactError for a record that no export writes.
    """
    return None if "quantization" not in details else _decoded(details["quantization"], where)


def quantization_of_file(text: str | None, where: object) -> Quantization | None:
    """The record in a file's metadata; raises ArtifactError for one that no export writes."""
    if text is None:
        return None
    try:
        return _decoded(loads(text.encode(errors="replace")), where)
    except SchemaError as error:
        raise _foreign(where, error) from None


def _decoded(data: Any, where: object) -> Quantization:
    try:
        found = decode(Quantization, data)
    except SchemaError as error:
        raise _foreign(where, error) from None
    if found.method not in METHODS:
        raise _foreign(where, f"the method {found.method}")
    return found


def _foreign(where: object, found: object) -> ArtifactError:
    return ArtifactError(f"{where}: quantization: expected a record of an export, found {shown(found)}; export again")
