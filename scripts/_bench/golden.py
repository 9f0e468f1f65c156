"""Errors of our ONNX files, for both targets, against the recorded features of the published implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _golden_cases import golden_cases, load_recipe, write_golden_bundle

from _bench.exporting import run_export
from _bench.measuring import relative_l2
from _bench.worker import Spec
from _bench.workers import Broken, Worker

__all__ = ["TARGETS", "golden_errors"]

#: Entries of ``EXPORTS``.
TARGETS = ("onnx", "portable")


def golden_errors(folder: Path, threads: int, on_progress: Callable[[str], None]) -> dict[str, float]:
    """Relative L2 of the features of each case in ONNX Runtime, the larger of both targets; infinite on a failure."""
    recipe = load_recipe()
    errors = {}
    for name, case, wanted in golden_cases():
        on_progress(f"golden case {name}")
        scratch = folder / "golden" / name
        scratch.mkdir(parents=True)
        np.save(scratch / "clips.npy", recipe.clip(case))
        try:
            features = _features(case, scratch, threads)
        except Broken as broken:
            on_progress(f"golden case {name}: {broken}")
            errors[name] = float("inf")
            continue
        errors[name] = max(relative_l2(found, wanted) for found in features)
    return errors


def _features(case: dict[str, Any], folder: Path, threads: int) -> list[np.ndarray]:
    bundle, clips = folder / "bundle", folder / "clips.npy"
    write_golden_bundle(case, bundle)
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
