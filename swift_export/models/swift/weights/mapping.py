"""Maps the tensors of a file to the tensors of a backbone: names, shapes, types, values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swift_export.errors import WeightsError
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.system.text import listed, shape_text, shown

__all__ = ["FLOATING", "Mapped", "TensorInFile", "as_float32", "map_state"]

#: Prefixes of heads and training code, upstream and in ilex: recognised, but not part of the backbone (see `own_head`).
HEADS = ("emb_mlp.", "output_head.", "clf.", "reg.", "model.head.")
#: Present in published checkpoints, but unused in every forward pass.
UNUSED = ("model.norm.weight", "model.norm.bias")
#: Most tensors of each category in a message; a backbone of the published size has 161.
MAX_NAMED = 32

#: Types of tensors that become float32.
FLOATING = ("float32", "float16", "bfloat16", "float64")


class TensorInFile(Protocol):
    """A tensor with a known description, and values that are read on demand."""

    @property
    def dtype(self) -> str:
        """The type name in torch, such as ``bfloat16``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its axes."""

    def read(self) -> np.ndarray:
        """The values."""


@dataclass(frozen=True)
class Mapped:
    """Tensors by canonical name, sorted, float32 and read-only; names of dropped tensors; notes on conversions."""

    tensors: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def map_state(state: Mapping[str, TensorInFile], config: SwiFTConfig, file: str) -> Mapped:
    """Select the tensors of the backbone from those of a file.

    The ``model.`` prefix of names is optional. Only selected tensors are read. Raises a single WeightsError that names
    all tensors that are missing, misshapen, unexpected, not floating-point, or not finite.
    """
    expected = parameter_shapes(config)
    optional = dict.fromkeys(UNUSED, (config.out_dim,))
    known = expected | optional
    found: dict[str, TensorInFile] = {}
    dropped, unexpected = [], []
    for key, tensor in state.items():
        name = _canonical(key)
        if name.startswith(HEADS):
            dropped.append(key)
        elif name not in known or name in found:
            unexpected.append(f"{shown(key)} {shape_text(tensor.shape)}")
        else:
            found[name] = tensor
    problems = {
        "missing": [f"{name} {shape_text(shape)}" for name, shape in expected.items() if name not in found],
        "misshapen": [
            f"{name} (expected {shape_text(known[name])}, found {shape_text(tensor.shape)})"
            for name, tensor in found.items()
            if tensor.shape != known[name]
        ],
        "unexpected": unexpected,
        "not floating-point": [f"{n} ({shown(t.dtype)})" for n, t in found.items() if t.dtype not in FLOATING],
    }
    _refuse(problems, file)
    arrays = {name: as_float32(found[name].read()) for name in sorted(found)}
    _refuse({"not finite": list(_non_finite(arrays))}, file)
    kinds = sorted({tensor.dtype for tensor in found.values()} - {"float32"})
    return Mapped(
        tensors={name: array for name, array in arrays.items() if name in expected},
        extras={name: array for name, array in arrays.items() if name in optional},
        dropped=tuple(sorted(dropped)),
        notes=tuple(f"tensors stored as {kind} were {_CONVERTED[kind]} float32" for kind in kinds),
    )


_CONVERTED = {"float16": "widened to", "bfloat16": "widened to", "float64": "rounded to"}


def _canonical(key: str) -> str:
    """The name of a tensor in published checkpoints."""
    return key if key.startswith(("model.", *HEADS)) else "model." + key


def as_float32(values: np.ndarray) -> np.ndarray:
    """The values as float32, C-contiguous and read-only."""
    with np.errstate(over="ignore"):  # overflows become infinite, and infinite values are rejected by name
        array = np.ascontiguousarray(values, np.float32)
    array.flags.writeable = False
    return array


def _non_finite(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            yield f"{name} ({np.count_nonzero(~np.isfinite(array))} of {array.size} values)"


def _refuse(problems: Mapping[str, list[str]], file: str) -> None:
    lists = [f"{problem}: {listed(names, most=MAX_NAMED)}" for problem, names in problems.items() if names]
    if lists:
        raise WeightsError(f"{file}: its tensors do not match the architecture; {'; '.join(lists)}")
