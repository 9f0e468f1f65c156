"""The float32 artifact that one with integer weights is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as oir

from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import MANIFEST, ONNX_FILE
from swift_export.artifacts.manifest import Artifact, Manifest
from swift_export.artifacts.writing import open_artifact
from swift_export.errors import UsageError
from swift_export.models import Model
from swift_export.models.recovery import Recorded
from swift_export.parity.targets import Target, find_artifacts

__all__ = ["FORMAT", "FloatSource", "float_source"]

#: The format that integers are for.
FORMAT = "onnx"

_HALF = ("FLOAT16", "BFLOAT16")
_INTEGER_OPS = {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits", "QuantizeLinear"}


@dataclass(frozen=True, eq=False)
class FloatSource:
    """A float32 artifact: its folder, its records, and its ONNX file with the model as far as that is recorded."""

    folder: Path
    manifest: Manifest
    recorded: Recorded
    target: Target

    @property
    def artifact(self) -> Artifact:
        """The manifest's entry of the ONNX file."""
        return self.manifest.artifacts[FORMAT]

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.target.path

    @property
    def model(self) -> Model:
        """The model as far as it is recorded: it cannot be computed."""
        return self.target.model

    def load(self) -> oir.Model:
        """The graph; raises UsageError unless all its floating-point weights are float32."""
        model = oir.load(self.path)
        if self.target.integers or _INTEGER_OPS.intersection(node.op_type for node in model.graph.all_nodes()):
            raise UsageError(
                f"{self.path}: expected float32 weights, found integers; quantize the artifact it is made of"
            )
        types = {value.dtype.name for value in model.graph.initializers.values() if value.dtype is not None}
        if half := sorted(types.intersection(_HALF)):
            raise UsageError(
                f"{self.path}: expected float32 weights, found {half[0].lower()}; quantize an artifact in float32"
            )
        return model


def float_source(path: Path) -> FloatSource:
    """The artifact at ``path``, a folder or a part of one, verified against its manifest.

    Raises UsageError unless it has an ONNX file, ArtifactError for missing or changed files.
    """
    folder = artifact_folder(path)
    if folder is None:
        raise UsageError(f"{path}: expected an artifact folder written by an export, found no {MANIFEST}; export first")
    held = open_artifact(folder).artifacts
    if FORMAT not in held:
        raise UsageError(f"{folder}: expected an ONNX file, found {', '.join(held) or 'no format'}; export onnx first")
    found = find_artifacts(folder / ONNX_FILE)
    assert found.manifest, "files in an artifact folder have its manifest"
    (target,) = found.targets
    return FloatSource(folder, found.manifest, found.records[target.file], target)
