"""Small models and what is exported from them: the golden cases' architectures with synthetic weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swift_export.backbone.config import SwiFTConfig
from swift_export.lowering.settings import ExportSettings
from swift_export.weights import Weights, synthetic_weights

GOLDEN = Path(__file__).parents[1] / "golden"

#: Windowed to the last stage; shifts in space and time; every mask takes part.
CASE = "tiny-windowed"


@pytest.fixture(scope="session")
def config_of():
    def config_of(case: str = CASE) -> SwiFTConfig:
        stored = json.loads((GOLDEN / case / "case.json").read_text())
        return SwiFTConfig.from_hyper_parameters(stored["hyper_parameters"])

    return config_of


@pytest.fixture(scope="session")
def weights(config_of) -> Weights:
    return synthetic_weights(config_of(), seed=3)


@pytest.fixture(scope="session")
def write():
    """Writes formats below a folder, laid out like an artifact without its manifest."""

    def write(weights: Weights, folder: Path, *formats: str, settings: ExportSettings | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        settings = settings or ExportSettings()
        if "onnx" in formats:
            from swift_export.lowering.onnx_file import write_onnx

            write_onnx(weights, settings, folder)
        if "stablehlo" in formats:
            from swift_export.lowering.stablehlo import write_stablehlo

            write_stablehlo(weights, settings, folder)
        if "savedmodel" in formats:
            from swift_export.lowering.savedmodel import write_savedmodel

            write_savedmodel(weights, settings, folder)
        return folder

    return write


@pytest.fixture(scope="session")
def staged(weights, write, tmp_path_factory) -> Path:
    """ONNX and StableHLO of `weights`; not to be changed."""
    return write(weights, tmp_path_factory.mktemp("staged"), "onnx", "stablehlo")


@pytest.fixture(scope="session")
def artifact(weights, tmp_path_factory) -> Path:
    """An artifact folder of `weights` with ONNX and StableHLO, unchecked; not to be changed."""
    from swift_export.export import run_export

    folder = tmp_path_factory.mktemp("exported") / "artifact"
    run_export(("onnx", "stablehlo"), weights, folder, settings=ExportSettings(), check=False)
    return folder
