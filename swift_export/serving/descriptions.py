"""What the protocol tells of the server's models, over HTTP and gRPC alike."""

from __future__ import annotations

from typing import Any

from swift_export.formats.signature import TensorSpec
from swift_export.serving.repository import Repository
from swift_export.serving.served_model import ServedModel
from swift_export.serving.tensors import datatype_of

__all__ = ["extensions", "model_config", "model_index", "model_metadata"]


def extensions(shared_memory: bool) -> list[str]:
    """The parts of the protocol beyond its core."""
    memory = ["system_shared_memory"] if shared_memory else []
    return ["binary_tensor_data", "model_configuration", "model_repository", "parameters", *memory]


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Name, version, inputs and outputs; -1 is an unknown size."""

    def described(spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": _sizes(spec)}

    return {
        "name": model.name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [described(spec) for spec in model.inputs],
        "outputs": [described(spec) for spec in model.outputs],
        **({"parameters": {"note": model.note}} if model.note else {}),
    }


def model_config(model: ServedModel, max_batch: int) -> dict[str, Any]:
    """The same as Triton configures it: shapes are without the batch, and 0 items means that there is none."""

    def described(spec: TensorSpec) -> dict[str, Any]:
        dims = _sizes(spec)[1:] if model.batched else _sizes(spec)
        return {"name": spec.name, "data_type": f"TYPE_{datatype_of(spec.dtype)}", "dims": dims}

    return {
        "name": model.name,
        "platform": model.platform,
        "backend": model.platform.removesuffix("_onnx"),
        "max_batch_size": max_batch if model.batched else 0,
        "input": [described(spec) for spec in model.inputs],
        "output": [described(spec) for spec in model.outputs],
    }


def model_index(repository: Repository) -> list[dict[str, str]]:
    """All models with their state."""
    return [
        {"name": model.name, "version": model.version, "state": "READY", "reason": ""}
        for model in repository.models.values()
    ]


def _sizes(spec: TensorSpec) -> list[int]:
    return [dim if isinstance(dim, int) else -1 for dim in spec.dims]
