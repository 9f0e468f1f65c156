"""Acceptance limits of the StableHLO to ONNX converter: its speed, the convert command, whole networks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["conversion_bars"]

#: Name of the figure, its limit, the measured value, and whether the limit is met.
Bar = tuple[str, str, str, bool]

FIVE_OPS = """func.func @main(%x: tensor<?x4xf32>, %w: tensor<4x3xf32>) -> tensor<?x3xf32> {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
    : (tensor<?x4xf32>, tensor<4x3xf32>) -> tensor<?x3xf32>
  %1 = stablehlo.tanh %0 : tensor<?x3xf32>
  %2 = stablehlo.add %1, %0 : tensor<?x3xf32>
  %3 = stablehlo.abs %2 : tensor<?x3xf32>
  %4 = stablehlo.exponential %3 : tensor<?x3xf32>
  return %4 : tensor<?x3xf32>
}
"""


def conversion_bars(command: Sequence[str], scratch: Path) -> Iterator[Bar]:
    """Measure with ``command``, the program that users call."""
    seconds = _lowering()
    yield "converting SwiFT from StableHLO to ONNX, without check", "<= 8 s", f"{seconds:.2f} s", seconds <= 8
    source = scratch / "five.mlir"
    source.write_text(FIVE_OPS)
    slowest = max(_converted(command, source) for _ in range(3))
    text = f"{slowest:.1f} s"
    yield "`convert` of a module with five ops, slowest of three", "<= 3 s", text, slowest <= 3
    errors = dict(_networks())
    worst = max(errors, key=errors.__getitem__)
    text = f"{errors[worst]:.1e} ({worst}), largest of {len(errors)} networks"
    yield "Equinox and Flax networks against JAX, relative L2", "<= 1e-5 each", text, errors[worst] <= 1e-5


def _lowering() -> float:
    from swift_export.converter import stablehlo_to_onnx
    from swift_export.lowering.lower import lower_open
    from swift_export.models.swift.swift_model import swift_model
    from swift_export.models.swift.variants import VARIANTS
    from swift_export.models.swift.weights import synthetic_weights

    model = swift_model(synthetic_weights(VARIANTS["contrastive"].config))
    lowered = lower_open(model)
    constants = {name: np.asarray(array) for name, array in model.weights.items()}
    begun = time.perf_counter()
    stablehlo_to_onnx(lowered.module, constants=constants, argument_names=lowered.arguments)
    return time.perf_counter() - begun


def _converted(command: Sequence[str], source: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([*command, "convert", str(source), "-o", str(source.with_suffix(".onnx")), "--quiet"], check=True)
    return time.perf_counter() - begun


def _networks() -> Iterator[tuple[str, float]]:
    """The largest error of each network in the tests, at batch sizes that its export never saw."""
    sys.path.insert(0, str(ROOT / "tests" / "converter" / "networks"))
    tests: Any = import_module("test_networks")
    for name in tests.NETWORKS:
        yield name, max(tests.errors(name))
