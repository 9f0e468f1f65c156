"""The golden cases of tests/golden: recorded features of the published implementation, and the weights behind them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["golden_cases", "load_recipe", "write_golden_bundle"]

CASES = Path(__file__).resolve().parent.parent / "tests" / "golden"


def load_recipe() -> Any:
    """The module that draws weights and clips of the cases."""
    spec = importlib.util.spec_from_file_location("recipe", CASES / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe


def golden_cases() -> Iterator[tuple[str, dict[str, Any], np.ndarray]]:
    """Name, description and recorded features of each case."""
    recipe = load_recipe()
    for path in sorted(CASES.glob("*/case.json")):
        yield path.parent.name, recipe.load_case(path.parent.name), np.load(path.parent / "features.npy")


def write_golden_bundle(case: dict[str, Any], folder: Path) -> None:
    """Write the weights of a case, as the recipe draws them, as a bundle."""
    from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
    from swift_export.models.swift.weights.bundle_writer import write_bundle
    from swift_export.models.swift.weights.weights import Provenance, Weights

    config, state = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"]), load_recipe().checkpoint_state(case)
    tensors = {name: np.ascontiguousarray(state[name]) for name in sorted(parameter_shapes(config))}
    write_bundle(Weights(config, tensors, {}, "custom", Provenance("synthetic", "golden", seed=0)), folder)
