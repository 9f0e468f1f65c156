"""A model repository for NVIDIA Triton: https://docs.nvidia.com/deeplearning/triton-inference-server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.formats.signature import TensorSpec
from swift_export.serving.layouts.servable import Servable
from swift_export.serving.layouts.server_layout import (
    OIP_CLIENTS,
    OIP_TYPES,
    ServerLayout,
    flat_input,
    rendered,
)

__all__ = ["IMAGE", "LAYOUT", "request_shape", "write_repository"]

#: The container that the commands start.
IMAGE = "nvcr.io/nvidia/tritonserver:25.08-py3"
_REPOSITORY = "models"


@dataclass(frozen=True)
class Tensor:
    """A tensor in config.pbtxt. Triton has no scalars: they have a dimension of size 1 in ``dims``.

    With ``reshaped``, it must be told to remove that from the items of a batch. Alone, a scalar is left to the backend,
    and Triton refuses the same instruction.
    """

    name: str
    type: str
    dims: tuple[int, ...]
    reshaped: bool


@dataclass(frozen=True)
class Warmup:
    """An input of the warm-up request, its shape without the batch."""

    name: str
    type: str
    dims: tuple[int, ...]
    file: str


def write_repository(servable: Servable, folder: Path) -> None:
    """Write the repository with one model into ``folder``, which is created; the warm-up's data is not written."""
    model = folder / servable.name
    servable.copy_files(model / "1")
    (model / "config.pbtxt").write_text(rendered("triton/config.pbtxt.j2", **_config(servable)), encoding="utf-8")


def request_shape(shape: Sequence[int], combined: bool) -> tuple[int, ...]:
    """The shape of a tensor in requests: Triton has no tensors without dimensions."""
    return tuple(shape) if len(shape) > combined else (*shape, 1)


def _config(servable: Servable) -> dict[str, Any]:
    combined = servable.batching is not None
    cases = servable.case.inputs
    return {
        "name": servable.name,
        "batching": servable.batching,
        "apart": servable.apart,
        "instances": servable.instances,
        "inputs": [_tensor(spec, combined) for spec in servable.signature.inputs],
        "outputs": [_tensor(spec, combined) for spec in servable.signature.outputs],
        "warmup": [
            Warmup(name, OIP_TYPES[array.dtype.name], _or_one(array.shape[combined:]), flat_input(number))
            for number, (name, array) in enumerate(cases.items())
        ],
        "profiles": _profiles(servable) if combined else {},
    }


def _tensor(spec: TensorSpec, combined: bool) -> Tensor:
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in spec.dims[combined:])
    return Tensor(spec.name, OIP_TYPES[spec.dtype], _or_one(dims), combined and not dims)


def _or_one(dims: tuple[int, ...]) -> tuple[int, ...]:
    return dims or (1,)


def _profiles(servable: Servable) -> Mapping[str, str]:
    """TensorRT's ranges of shapes, if only the batch size is unknown."""
    specs = servable.signature.inputs
    assert servable.batching
    if any(isinstance(dim, str) for spec in specs for dim in spec.dims[1:]):
        return {}
    most = servable.batching.most
    return {
        which: ",".join(f"{spec.name}:{'x'.join(map(str, (size, *spec.dims[1:])))}" for spec in specs)
        for which, size in (("min", 1), ("opt", most), ("max", most))
    }


def _write(servable: Servable, folder: Path) -> None:
    write_repository(servable, folder / _REPOSITORY)


LAYOUT = ServerLayout(
    name="triton",
    title="Triton",
    format_name="onnx",
    types=OIP_TYPES,
    urls={"http": "localhost:8000", "grpc": "localhost:8001"},
    clients=OIP_CLIENTS,
    write=_write,
    facts=lambda servable: {"image": IMAGE},
    inputs=lambda servable: f"{_REPOSITORY}/{servable.name}/warmup",
    shape=request_shape,
)
