"""Errors of our ONNX files, for both targets, against the recorded features of the published implementation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from _bench.exporting import run_export
from _bench.measuring import relative_l2
from _bench.worker import Spec
from _bench.workers import Broken, Worker

__all__ = ["TARGETS", "golden_errors"]

CASES = Path(__file__).resolve().parents[2] / "tests" / "golden"
#: Entries of ``EXPORTS``.
TARGETS = ("onnx", "portable")


def golden_errors(folder: Path, threads: int, on_progress: Callable[[str], None]) -> dict[str, float]:
    """Relative L2 of the features of each case in ONNX Runtime, the larger of both targets; infinite on a failure."""
    recipe = _recipe()
    errors = {}
    for path in sorted(CASES.glob("*/case.json")):
        name = path.parent.name
        on_progress(f"golden case {name}")
        case = recipe.load_case(name)
        scratch = folder / "golden" / name
        scratch.mkdir(parents=True)
        np.save(scratch / "clips.npy", recipe.clip(case))
        try:
            features = _features(case, recipe.checkpoint_state(case), scratch, threads)
        except Broken as broken:
            on_progress(f"golden case {name}: {broken}")
            errors[name] = float("inf")
            continue
        wanted = np.load(path.parent / "features.npy")
        errors[name] = max(relative_l2(found, wanted) for found in features)
    return errors


def _features(case: dict[str, Any], state: dict[str, np.ndarray], folder: Path, threads: int) -> list[np.ndarray]:
    from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
    from swift_export.models.swift.weights.bundle_writer import write_bundle
    from swift_export.models.swift.weights.weights import Provenance, Weights

    config = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"])
    tensors = {name: np.ascontiguousarray(state[name]) for name in sorted(parameter_shapes(config))}
    bundle, clips = folder / "bundle", folder / "clips.npy"
    write_bundle(Weights(config, tensors, {}, "custom", Provenance("synthetic", "golden", seed=0)), bundle)
    frames = np.load(clips, mmap_mode="r").shape[-1]
    features = []
    for target in TARGETS:
        run_export(target, bundle, folder / target, threads, "--frames", str(frames))
        found, model = folder / f"{target}.npy", folder / target / "onnx" / "model.onnx"
        spec = Spec("onnxruntime", ["onnxruntime"], str(model), str(clips), str(found), threads)
        with Worker(spec, folder / "log") as worker:
            worker.ask("load")
        features.append(np.load(found))
    return features


def _recipe() -> Any:
    spec = importlib.util.spec_from_file_location("recipe", CASES / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe
