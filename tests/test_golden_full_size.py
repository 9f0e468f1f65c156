"""The published architectures' recorded features through ONNX: each target, with and without masks."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest

from swift_export.converter.opsets import TARGETS
from swift_export.lowering.lower import Lowered, lower_open
from swift_export.lowering.onnx_file import model_to_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.settings import ATTENTION, SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Provenance, Weights

pytestmark = pytest.mark.full_size

GOLDEN = Path(__file__).parent / "golden"
spec = importlib.util.spec_from_file_location("recipe", GOLDEN / "recipe.py")
assert spec is not None
assert spec.loader is not None
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


@cache
def case(name: str) -> tuple[Weights, np.ndarray]:
    """Weights and clip."""
    found: dict[str, Any] = recipe.load_case(name)
    config = SwiFTConfig.from_hyper_parameters(found["hyper_parameters"])
    state = recipe.checkpoint_state(found)
    tensors = {key: state[key] for key in sorted(parameter_shapes(config))}
    return Weights(config, tensors, {}, name, Provenance("recorded", name)), recipe.clip(found)


@cache
def lowered(name: str, attention: str) -> tuple[Model, Lowered]:
    model = swift_model(case(name)[0], SwiFTSettings(attention=attention))
    assert model.details["attention"]["stage0/block1"]["form"] == ("regions" if attention == "auto" else "masked")
    return model, lower_open(model)


@cache
def exported(name: str, target: str, attention: str) -> oir.Model:
    model, module = lowered(name, attention)
    return model_to_onnx(model, OnnxSettings(target=target), module)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["contrastive", "hcp-sex"])
def test_onnx_gives_the_recorded_features(name: str, target: str, attention: str) -> None:
    _, bold = case(name)
    content = oir.to_proto(exported(name, target, attention)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    (found,) = session.run(["features"], {"bold": bold})

    golden = np.load(GOLDEN / name / "features.npy")
    assert found.shape == golden.shape
    assert np.linalg.norm(found - golden) <= 5e-6 * np.linalg.norm(golden)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize(("target", "nodes"), [("portable", 480), ("onnxruntime", 420)])
def test_graphs_stay_small(target: str, nodes: int, attention: str) -> None:
    assert sum(1 for _ in exported("contrastive", target, attention).graph) <= nodes
