"""The graphs inside an artifact, whatever its format, as ONNX models: one reader then serves them all.

StableHLO goes through the project's own lowering, in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.formats.facts import essentials_in
from swift_export.formats.metadata import METADATA_ATTRIBUTE

__all__ = ["Contents", "read_contents", "stablehlo_of"]


@dataclass(frozen=True)
class Contents:
    """Graphs by the platform they are for (``any`` where there is one for all), and the file's own essentials."""

    models: dict[str, oir.Model]
    metadata: dict[str, str]


def read_contents(path: Path) -> Contents:
    """Read an artifact that its runtime has loaded. Raises LoweringError for StableHLO that has no ONNX equivalent."""
    if path.is_dir():
        return _savedmodel(path)
    if path.suffix == ".onnx":
        model = oir.load(path)
        return Contents({"any": model}, dict(model.metadata_props))
    if path.suffix == ".jax":
        from jax import export

        exported = export.deserialize(bytearray(path.read_bytes()))
        return _stablehlo(exported.mlir_module_serialized, exported.platforms)
    return _stablehlo(path.read_bytes(), ("any",))


def stablehlo_of(path: Path) -> bytes:
    """The module inside a ``.jax`` or a ``.mlir.bc`` file."""
    if path.suffix != ".jax":
        return path.read_bytes()
    from jax import export

    return bytes(export.deserialize(bytearray(path.read_bytes())).mlir_module_serialized)


def _stablehlo(data: bytes, platforms: Sequence[str]) -> Contents:
    from swift_export.converter import stablehlo_to_onnx
    from swift_export.converter.mlir import read_module

    attributes: Any = read_module(data).operation.attributes
    metadata = essentials_in(attributes[METADATA_ATTRIBUTE].value) if METADATA_ATTRIBUTE in attributes else {}
    if len(platforms) == 1:
        return Contents({platforms[0]: stablehlo_to_onnx(data)}, metadata)
    # For several platforms jax puts the platform's number before the arguments: one graph for each.
    models = {
        platform: stablehlo_to_onnx(data, constants={"arg0": np.array(number, np.int32)})
        for number, platform in enumerate(platforms)
    }
    return Contents(models, metadata)


def _savedmodel(path: Path) -> Contents:
    from tensorflow.core.protobuf import saved_model_pb2

    asset = path / "assets" / "swift_export.json"
    metadata = essentials_in(asset.read_bytes()) if asset.is_file() else {}
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = [function for graph in saved.meta_graphs for function in graph.graph_def.library.function]
    calls = [node for function in functions for node in function.node_def if node.op == "XlaCallModule"]
    models: dict[str, oir.Model] = {}
    for call in calls:
        platforms = [platform.decode().lower() for platform in call.attr["platforms"].list.s]
        models |= _stablehlo(call.attr["module"].s, platforms).models
    return Contents(models, metadata)
