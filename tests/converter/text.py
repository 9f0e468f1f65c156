"""Modules of StableHLO text: XLA and, through ONNX, ONNX Runtime have to compute the same."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnx_ir as oir
from jax.extend.backend import get_backend

from swift_export.converter import stablehlo_to_onnx

sys.path.insert(0, str(Path(__file__).parent))
from compare import run
from edges import agree

__all__ = ["by_xla", "compare_text"]


@cache
def _program(text: str) -> Any:
    return get_backend("cpu").compile_and_load(text, jax.devices("cpu")[:1])


def by_xla(text: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of a module with known sizes, compiled by XLA for one CPU."""
    with jax.enable_x64(True):
        placed = [jax.device_put(array, jax.devices("cpu")[0]) for array in arrays]
        program = _program(text)
        return [np.asarray(result) for result in program.execute(placed)]


def compare_text(text: str, *arrays: np.ndarray, ulps: float = 0, **options: Any) -> oir.Model:
    """Compare the results to so many units in the last place."""
    model = stablehlo_to_onnx(text, **options)
    onnx.checker.check_model(oir.to_proto(model), full_check=True)
    expected = by_xla(text, *arrays)
    for i, (found, wanted) in enumerate(zip(run(model, *arrays), expected, strict=True)):
        agree(found, wanted, ulps, arrays, name=f"result {i}")
    return model
