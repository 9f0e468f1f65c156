"""The graphs of artifacts of any format as ONNX models, so that one reader serves all.

The project's own converter converts StableHLO, in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as oir

from swift_export.quantization.restoring import Rounded, restore

__all__ = ["ArtifactGraphs", "read_graphs"]


@dataclass(frozen=True)
class ArtifactGraphs:
    """Graphs by platform (``any`` for a common one), and the file's essentials.

    ``rounded`` are the weights that were integers, by name.
    """

    models: dict[str, oir.Model]
    metadata: dict[str, str]
    rounded: dict[str, Rounded] = field(default_factory=dict)


def read_graphs(path: Path, *, rounded: bool = False) -> ArtifactGraphs:
    """Read an artifact that its runtime has loaded; raises LoweringError for StableHLO without an ONNX equivalent.

    With ``rounded``, integer weights of an ONNX file become float32 ones.
    """
    if path.is_dir():
        return _savedmodel(path)
    if path.suffix == ".onnx":
        model = oir.load(path)
        found = restore(model) if rounded else {}
        return ArtifactGraphs({"any": model}, dict(model.metadata_props), found)
    from swift_export.formats.stablehlo import module_in
    from swift_export.formats.stablehlo_module import essentials, read_module

    data, platforms = module_in(path)
    return ArtifactGraphs(_by_platform(data, platforms or ("any",)), essentials(read_module(data)))


def _savedmodel(path: Path) -> ArtifactGraphs:
    from swift_export.formats import savedmodel

    models: dict[str, oir.Model] = {}
    for graph in savedmodel.read_graphs(path):
        for call in savedmodel.xla_calls(graph.graph_def):
            platforms = [platform.lower() for platform in savedmodel.platforms(call)]
            models |= _by_platform(call.attr["module"].s, platforms)
    return ArtifactGraphs(models, savedmodel.essentials(path))


def _by_platform(data: bytes, platforms: Sequence[str]) -> dict[str, oir.Model]:
    from swift_export.converter import stablehlo_to_onnx

    if len(platforms) == 1:
        return {platforms[0]: stablehlo_to_onnx(data, native=True)}
    # For several platforms, jax puts the platform's number before the arguments: one graph per platform.
    return {
        platform: stablehlo_to_onnx(data, constants={"arg0": np.array(number, np.int32)}, native=True)
        for number, platform in enumerate(platforms)
    }
