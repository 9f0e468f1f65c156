"""Examines artifacts in a process of its own: ``python -m swift_export.parity.structure.examining FOLDER``.

Reading StableHLO brings jax, reading a SavedModel TensorFlow, and masks take memory: none of it stays with the caller.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from swift_export.errors import LoweringError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.structure.examine import Setting, examine
from swift_export.parity.structure.graphs import read_contents
from swift_export.parity.structure.weight_identity import held_weights
from swift_export.system.processes import Child

__all__ = ["Examination", "examine_file", "main"]

_REQUEST = "request.json"
_ANSWER = "answer.json"


class Examination(Child):
    """Reads the settings of several artifacts, one after the other.

    All were exported for clips of ``frames`` frames (None: all), with shifted blocks in these ``forms``. ``stated`` are
    essentials that a file, where it states them, must state so, ``weights`` the `digests` of the tensors to be held.
    """

    def __init__(
        self,
        artifacts: Sequence[Path],
        config: SwiFTConfig,
        frames: int | None,
        forms: Mapping[str, str],
        stated: Mapping[str, str],
        weights: Mapping[str, str],
        folder: Path,
    ):
        self._folder = folder
        request = {
            "artifacts": [str(path) for path in artifacts],
            "frames": frames,
            "forms": dict(forms),
            "config": config.to_dict(),
            "stated": dict(stated),
            "weights": dict(weights),
        }
        folder.joinpath(_REQUEST).write_text(json.dumps(request))
        super().__init__(__name__, folder, "reading the artifacts' settings", {"CUDA_VISIBLE_DEVICES": ""})

    def answer(self) -> dict[Path, list[Setting]]:
        """Wait for the settings found, by path; raises MachineError when the process broke."""
        self.wait()
        found = json.loads(self._folder.joinpath(_ANSWER).read_text())
        return {Path(path): [Setting(**setting) for setting in settings] for path, settings in found.items()}


def examine_file(
    path: Path,
    config: SwiFTConfig,
    frames: int | None = None,
    forms: Mapping[str, str] | None = None,
    stated: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
) -> list[Setting]:
    """The settings of one artifact: those in its essentials and in every graph it holds, and whose weights it has."""
    try:
        contents = read_contents(path)
    except LoweringError as error:
        return [Setting("graph", "operations", "those of the backbone", str(error))]
    essentials = [
        Setting("metadata", name, value, contents.metadata[name])
        for name, value in (stated or {}).items()
        if name in contents.metadata
    ]
    graphs = [
        setting if platform == "any" else replace(setting, place=f"{platform}: {setting.place}")
        for platform, model in contents.models.items()
        for setting in examine(model, config, frames, forms)
    ]
    return [*essentials, *([held_weights(path, weights)] if weights else []), *graphs]


def main(folder: Path) -> None:
    """Answer the request in ``folder``."""
    request = json.loads(folder.joinpath(_REQUEST).read_text())
    config = SwiFTConfig.from_hyper_parameters(request["config"])
    expected = (config, request["frames"], request["forms"], request["stated"], request["weights"])
    found = {
        path: [asdict(setting) for setting in examine_file(Path(path), *expected)] for path in request["artifacts"]
    }
    folder.joinpath(_ANSWER).write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
