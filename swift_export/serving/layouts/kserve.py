"""Kubernetes objects for KServe, and the Triton model repository that they serve: https://kserve.github.io/website."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from swift_export.serving.layouts.servable import Servable
from swift_export.serving.layouts.server_layout import OIP_CLIENTS, OIP_TYPES, ServerLayout, rendered
from swift_export.serving.layouts.triton import IMAGE, request_shape, write_repository

__all__ = ["LAYOUT"]

_REPOSITORY = "repository"
_OBJECTS = ("storage.yaml", "serving-runtime.yaml", "inference-service.yaml")
#: The memory of a process without requests, and how many copies of its inputs a request takes: SwiFT's take seven.
_BASE_BYTES, _COPIES = 2 * 2**30, 12


def _write(servable: Servable, folder: Path) -> None:
    write_repository(servable, folder / _REPOSITORY)
    for file in _OBJECTS:
        (folder / file).write_text(rendered(f"kserve/{file}.j2", **_facts(servable)), encoding="utf-8")


def _facts(servable: Servable) -> dict[str, Any]:
    most = servable.batching.most if servable.batching else 1
    repository = sum(file.size for file in servable.artifact.files.values()) + servable.input_bytes
    memory = repository + _BASE_BYTES + servable.instances * most * _COPIES * servable.input_bytes
    return {
        "model": servable.name,
        "service": _service(servable.name),
        "image": IMAGE,
        "memory": _gibibytes(memory),
        "storage": _gibibytes(2 * repository),
    }


def _service(name: str) -> str:
    """A name for Kubernetes: lower-case letters, digits and hyphens after a letter, short enough for suffixes."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return plain if plain[:1].isalpha() else f"model-{plain}".strip("-")


def _gibibytes(size: int) -> str:
    return f"{-(-size // 2**30)}Gi"


LAYOUT = ServerLayout(
    name="kserve",
    title="KServe",
    format_name="onnx",
    types=OIP_TYPES,
    urls={"http": "localhost:8000"},
    clients=OIP_CLIENTS,
    write=_write,
    facts=_facts,
    inputs=lambda servable: f"{_REPOSITORY}/{servable.name}/warmup",
    shape=request_shape,
)
