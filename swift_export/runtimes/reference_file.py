"""The reference's weights: one safetensors file, written by the check and read in the reference's process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from swift_export.models.model import Model, Procedure
from swift_export.system.arrays import dtype_of, native_view

__all__ = ["Reference", "read_reference", "write_reference"]


@dataclass(frozen=True, eq=False)
class Reference:
    """The contents of a reference's file: the procedure that rebuilds the model, its weights, and requested outputs.

    ``outputs`` are names, None for all; the values at ``places`` are added, by `value_name`.
    """

    rebuild: Procedure
    weights: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] | None
    places: tuple[str, ...]


def write_reference(
    model: Model, path: Path, *, outputs: Sequence[str] | None = None, places: Sequence[str] = ()
) -> None:
    """Write a model to one file; raises ValueError if it cannot be rebuilt."""
    if model.rebuild is None:
        raise ValueError(f"model {model.name}: expected one that another process can rebuild")
    types = {name: array.dtype.name for name, array in model.weights.items()}
    metadata = {
        "rebuild": json.dumps(asdict(model.rebuild)),
        "types": json.dumps(types),
        "outputs": json.dumps(outputs),
        "places": json.dumps(places),
    }
    # As bits if the format's NumPy interface lacks the type.
    save_file({name: native_view(np.asarray(array)) for name, array in model.weights.items()}, path, metadata)


def read_reference(path: Path) -> Reference:
    """Read a file of `write_reference`."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        types = json.loads(metadata["types"])
        weights = {name: file.get_tensor(name).view(dtype_of(types[name])) for name in types}
    outputs = json.loads(metadata["outputs"])
    return Reference(
        Procedure(**json.loads(metadata["rebuild"])),
        weights,
        None if outputs is None else tuple(outputs),
        tuple(json.loads(metadata["places"])),
    )
