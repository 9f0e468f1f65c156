"""A folder for TensorFlow Serving: https://www.tensorflow.org/tfx/guide/serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swift_export.formats.element_types import ELEMENT_TYPES
from swift_export.serving.layouts.servable import Batching, Servable
from swift_export.serving.layouts.server_layout import ServerLayout, rendered

__all__ = ["IMAGE", "LAYOUT"]

IMAGE = "tensorflow/serving"
#: Batches that may wait; more requests are refused.
_QUEUE = 16


def _write(servable: Servable, folder: Path) -> None:
    servable.copy_files(folder / "models" / servable.name / "1")
    files = ["models.config", "monitoring.config"]
    if _batching(servable):
        files.append("batching_parameters.txt")
    for file in files:
        (folder / file).write_text(rendered(f"tfserving/{file}.j2", **_facts(servable)), encoding="utf-8")


def _batching(servable: Servable) -> Batching | None:
    """How requests are combined: only those whose shapes are equal beyond the batch can be."""
    specs = servable.signature.inputs
    more = any(isinstance(dim, str) for spec in specs for dim in spec.dims[1:])
    return servable.batching if servable.batching and servable.batching.most > 1 and not more else None


def _facts(servable: Servable) -> dict[str, Any]:
    batching = _batching(servable)
    return {
        "name": servable.name,
        "image": IMAGE,
        "combining": batching,
        "sizes": (1, *batching.preferred) if batching else (),
        "wait_us": round(batching.wait_ms * 1000) if batching else 0,
        "instances": servable.instances,
        "queue": _QUEUE,
    }


LAYOUT = ServerLayout(
    name="tfserving",
    title="TensorFlow Serving",
    format_name="savedmodel",
    types=frozenset(row.numpy for row in ELEMENT_TYPES if row.tensorflow and "float8" not in row.numpy),
    urls={"tensorflow": "localhost:8500"},
    clients={"tensorflow": "grpcio tensorflow-cpu && pip install --no-deps tensorflow-serving-api"},
    write=_write,
    facts=_facts,
)
