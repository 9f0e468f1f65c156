"""How the reference gets its weights: one safetensors file, written by the check, read in the reference's process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from swift_export.models.swift.config import SwiFTConfig

__all__ = ["Reference", "read_reference", "write_reference"]


@dataclass(frozen=True)
class Reference:
    """What the reference computes: architecture, weights and which outputs; the values at ``places`` come beside them,
    by `value_name`.
    """

    config: SwiFTConfig
    tensors: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ("features",)
    output_kind: str = "features"
    places: tuple[str, ...] = ()


def write_reference(reference: Reference, path: Path) -> None:
    """Write everything of ``reference`` to one file."""
    metadata = {
        "config": json.dumps(reference.config.to_dict()),
        "outputs": json.dumps(reference.outputs),
        "output_kind": reference.output_kind,
        "places": json.dumps(reference.places),
    }
    save_file(dict(reference.tensors), path, metadata)


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file, no mapping
    return Reference(
        SwiFTConfig.from_hyper_parameters(json.loads(metadata["config"])),
        tensors,
        tuple(json.loads(metadata["outputs"])),
        metadata["output_kind"],
        tuple(json.loads(metadata["places"])),
    )
