"""The recorded cases as weights, clips and features."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.models.swift.weights import Weights, load_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = ("tiny-full", "tiny-windowed", "tiny-padded", "sharp")
#: `sharp` has scores of up to 37: float32 itself is noisy there, as the recorded README states.
LIMITS = {"sharp": 1e-4}

spec = importlib.util.spec_from_file_location("recipe", GOLDEN / "recipe.py")
assert spec is not None
assert spec.loader is not None
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


@cache
def weights(name: str) -> Weights:
    return load_weights(GOLDEN / name / "checkpoint.ckpt")


@cache
def clip(name: str) -> np.ndarray:
    return recipe.clip(recipe.load_case(name))


@cache
def features(name: str) -> np.ndarray:
    return np.load(GOLDEN / name / "features.npy")


def frames(name: str) -> int:
    return int(recipe.load_case(name)["frames"])


def relative_error(found: Any, golden: np.ndarray) -> float:
    assert found.shape == golden.shape
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))
