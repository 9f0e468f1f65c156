"""A folder for OpenVINO Model Server: https://docs.openvino.ai, OpenVINO Model Server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift_export.errors import UsageError
from swift_export.formats.signature import TensorSpec
from swift_export.serving.layouts.servable import Servable
from swift_export.serving.layouts.server_layout import OIP_CLIENTS, OIP_TYPES, ServerLayout

__all__ = ["IMAGE", "LAYOUT", "MOUNT"]

IMAGE = "openvino/model_server:latest"
#: Where the container sees the folder.
MOUNT = "/layout"


def _write(servable: Servable, folder: Path) -> None:
    if servable.artifact.details.get("target", "portable") != "portable":
        raise UsageError(
            f"{servable.root}: expected an ONNX file of standard operators for OpenVINO Model Server, found "
            f"{servable.artifact.details['target']}'s own; export it with --target portable"
        )
    servable.copy_files(folder / "models" / servable.name / "1")
    (folder / "config.json").write_text(json.dumps(_config(servable), indent=2) + "\n", encoding="utf-8")


def _config(servable: Servable) -> dict[str, Any]:
    model: dict[str, Any] = {
        "name": servable.name,
        # Relative to the configuration, so that the server starts with and without a container.
        "base_path": f"models/{servable.name}",
        "target_device": "CPU",
        "nireq": servable.instances,
        # Without the hint, processors with AMX or AVX-512 BF16 compute in bfloat16, with differences of 1e-2.
        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(servable.instances)},
    }
    shapes = {
        spec.name: _shape(spec, servable)
        for spec in servable.signature.inputs
        if any(isinstance(dim, str) for dim in spec.dims)
    }
    if shapes:
        model["shape"] = shapes
    return {"model_config_list": [{"config": model}]}


def _shape(spec: TensorSpec, servable: Servable) -> str:
    """The accepted shapes, such as ``(1:4,3,-1)``: one size, a range or any size per dimension."""
    dims = [str(dim) if isinstance(dim, int) else "-1" for dim in spec.dims]
    if servable.batching:
        # A limit on the memory that one request can take.
        dims[0] = f"1:{servable.batching.most}" if servable.batching.most > 1 else "1"
    return f"({','.join(dims)})"


LAYOUT = ServerLayout(
    name="ovms",
    title="OpenVINO Model Server",
    format_name="onnx",
    types=OIP_TYPES,
    urls={"http": "localhost:8000", "grpc": "localhost:9000"},
    clients=OIP_CLIENTS,
    write=_write,
    facts=lambda servable: {"image": IMAGE, "mount": MOUNT},
)
