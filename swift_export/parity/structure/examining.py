"""Examines artifacts in a separate process: ``python -m swift_export.parity.structure.examining FOLDER``.

Reading StableHLO needs jax, reading a SavedModel TensorFlow, and masks take memory; the caller is kept free of these.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.errors import LoweringError
from swift_export.formats.metadata import WEIGHTS_KEY
from swift_export.models import Model, Procedure
from swift_export.models.model import Setting
from swift_export.parity.structure.graphs import read_graphs
from swift_export.parity.structure.weight_identity import digests, weight_identity
from swift_export.system.arrays import save_array
from swift_export.system.exchange import read_answer, read_request, write_answer, write_request
from swift_export.system.processes import WITHOUT_GPU, Child

__all__ = ["Examination", "examine_file", "main"]


class Examination(Child):
    """Reads the settings of several artifacts of ``model``, one after the other.

    Each must contain the model's weights bit for bit, state their digest, and have in its graphs the settings required
    by the model's structural check. Those of ``rounded`` may have integers instead, within half a step of the weights.
    """

    def __init__(self, artifacts: Sequence[Path], model: Model, folder: Path, rounded: Collection[Path] = ()):
        self._folder = folder
        tensors = {name: str(folder / f"weight{number}.npy") for number, name in enumerate(model.weights)}
        for name, file in tensors.items() if rounded else ():
            save_array(Path(file), np.asarray(model.weights[name]))
        request = {
            "artifacts": [str(path) for path in artifacts],
            "structure": None if model.structure is None else asdict(model.structure),
            "stated": {WEIGHTS_KEY: model.digest},
            "weights": digests(model.stored_weights),
            "rounded": [str(path) for path in rounded],
            "tensors": tensors,
        }
        write_request(folder, request)
        super().__init__(__name__, folder, "reading the artifacts' settings", WITHOUT_GPU)

    def answer(self) -> dict[Path, list[Setting]]:
        """Wait for the settings by path; raises MachineError if the process broke."""
        self.wait()
        found = read_answer(self._folder)
        return {Path(path): [Setting(**setting) for setting in settings] for path, settings in found.items()}


def examine_file(
    path: Path,
    structure: Procedure | None = None,
    stated: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    tensors: Mapping[str, str] | None = None,
) -> list[Setting]:
    """The settings of one artifact: those in its essentials and in every graph, and the identity of its weights.

    ``stated`` are the required values of essentials, if a file states them; ``weights`` are the `digests` of its
    required tensors. Of a file with integer weights, ``tensors`` are the files of these tensors.
    """
    try:
        graphs = read_graphs(path, rounded=tensors is not None)
    except LoweringError as error:
        # For a model without a structural check, a graph without an ONNX equivalent is allowed.
        found = [Setting("graph", "operations", "those of the model", str(error))] if structure else []
        return found + ([weight_identity(path, weights)] if weights else [])
    essentials = [
        Setting("metadata", name, value, graphs.metadata[name])
        for name, value in (stated or {}).items()
        if name in graphs.metadata
    ]
    settings = [
        setting if platform == "any" else replace(setting, place=f"{platform}: {setting.place}")
        for platform, model in graphs.models.items()
        for setting in (_examined(structure, model) if structure else ())
    ]
    identity = [weight_identity(path, weights, graphs.rounded, tensors)] if weights else []
    return [*essentials, *identity, *settings]


def _examined(structure: Procedure, model: oir.Model) -> list[Setting]:
    found: list[Setting] = import_module(structure.module).examine(structure.arguments, model)
    return found


def main(folder: Path) -> None:
    """Answer the request in ``folder``."""
    request: dict[str, Any] = read_request(folder)
    structure = None if request["structure"] is None else Procedure(**request["structure"])
    expected = (structure, request["stated"], request["weights"])
    found = {
        path: [
            asdict(setting)
            for setting in examine_file(
                Path(path), *expected, tensors=request["tensors"] if path in request["rounded"] else None
            )
        ]
        for path in request["artifacts"]
    }
    write_answer(folder, found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
