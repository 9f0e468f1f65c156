"""From the tensors of a file to the tensors of a backbone: names, shapes, types, values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swift_export.errors import WeightsError
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.system.text import listed, shape_text, shown

__all__ = ["Mapped", "TensorInFile", "map_state"]

#: Heads and training plumbing of upstream's training classes and of ilex: recognised, not part of the backbone.
HEADS = ("emb_mlp.", "output_head.", "clf.", "reg.", "model.head.")
#: Present in published checkpoints, applied by no forward pass.
UNUSED = ("model.norm.weight", "model.norm.bias")
#: Tensors of a kind that one message names; a backbone of the published size has 161.
MAX_NAMED = 32

_FLOATING = ("float32", "float16", "bfloat16", "float64")


class TensorInFile(Protocol):
    """A tensor whose description is known and whose values are read on demand."""

    @property
    def dtype(self) -> str:
        """torch's name of the type, such as ``bfloat16``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its axes."""

    def read(self) -> np.ndarray:
        """The values."""


@dataclass(frozen=True)
class Mapped:
    """Tensors under their canonical names, sorted, float32 and read-only; names left out; what was converted."""

    tensors: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def map_state(state: Mapping[str, TensorInFile], config: SwiFTConfig, file: str) -> Mapped:
    """The backbone's tensors out of a file's.

    Names count with or without their ``model.`` prefix. Only tensors that are kept are read. Raises one WeightsError
    that names every tensor that is missing, misshapen, unexpected, of a type that holds no weights, or not finite.
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
        "not floating-point": [f"{n} ({shown(t.dtype)})" for n, t in found.items() if t.dtype not in _FLOATING],
    }
    _refuse(problems, file)
    arrays = {name: _float32(found[name].read()) for name in sorted(found)}
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
    """A tensor's name as published checkpoints have it."""
    return key if key.startswith(("model.", *HEADS)) else "model." + key


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and infinite is refused with its name
        array = np.ascontiguousarray(values, np.float32)
    array.flags.writeable = False
    return array


def _non_finite(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            yield f"{name} ({np.count_nonzero(~np.isfinite(array))} of {array.size} values)"


def _refuse(problems: Mapping[str, list[str]], file: str) -> None:
    told = [f"{what}: {listed(names, most=MAX_NAMED)}" for what, names in problems.items() if names]
    if told:
        raise WeightsError(f"{file}: its tensors are not those of this architecture; {'; '.join(told)}")
