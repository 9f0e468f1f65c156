"""Batch normalization by StableHLO's ops, against XLA and the specification's formula in float64."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from swift_export.converter import stablehlo_to_onnx

sys.path.insert(0, str(Path(__file__).parent))
from compare import run
from text import compare_text

#: The attribute is of type float32.
EPSILON = float(np.float32(1.0e-5))
SHAPE = (3, 4, 5, 2)


def text(kind: str, dtype: str, feature: int, shape: tuple[int | str, ...]) -> str:
    whole = f"tensor<{'x'.join(map(str, shape))}x{dtype}>"
    vector = f"tensor<{shape[feature]}x{dtype}>"
    vectors = 4 if kind == "inference" else 2
    arguments = ", ".join(["%x", *(f"%v{i}" for i in range(vectors))])
    declared = ", ".join([f"%x: {whole}", *(f"%v{i}: {vector}" for i in range(vectors))])
    kinds = f"({', '.join([whole, *[vector] * vectors])}) -> "
    results = whole if kind == "inference" else f"({whole}, {vector}, {vector})"
    return (
        f"func.func @main({declared}) -> {results} {{\n"
        f'%y{":3" if kind != "inference" else ""} = "stablehlo.batch_norm_{kind}"({arguments}) '
        f"{{epsilon = 1.0e-5 : f32, feature_index = {feature} : i64}} : {kinds}{results}\n"
        f"return {'%y' if kind == 'inference' else '%y#0, %y#1, %y#2'} : {results.strip('()')}\n}}"
    )


def arrays(dtype: str, feature: int, vectors: int, batch: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *SHAPE[1:])) + 3
    count = x.shape[feature]
    return [a.astype(dtype) for a in (x, *(np.abs(rng.standard_normal(count)) + 0.1 for _ in range(vectors)))]


def expected(x: np.ndarray, feature: int, *vectors: np.ndarray) -> list[np.ndarray]:
    """The specification's formula."""
    x, *vectors = (a.astype(np.float64) for a in (x, *vectors))
    shape = [-1 if axis == feature else 1 for axis in range(x.ndim)]
    others = tuple(axis for axis in range(x.ndim) if axis != feature)
    statistics = vectors[2:] or [x.mean(others), x.var(others)]
    scale, offset, mean, variance = (v.reshape(shape) for v in (*vectors[:2], *statistics))
    return [(x - mean) / np.sqrt(variance + EPSILON) * scale + offset, *([] if vectors[2:] else statistics)]


@pytest.mark.parametrize("kind", ["inference", "training"])
@pytest.mark.parametrize("feature", [0, 1, 3])
def test_each_axis_of_features(kind: str, feature: int) -> None:
    given = arrays("float32", feature, 4 if kind == "inference" else 2)
    module = text(kind, "f32", feature, SHAPE)
    if kind == "inference":
        compare_text(module, *given, ulps=40)
    wanted = expected(given[0], feature, *given[1:])
    for ours, theirs in zip(run(stablehlo_to_onnx(module), *given), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["inference", "training"])
@pytest.mark.parametrize(("dtype", "short", "tolerance"), [("float64", "f64", 1e-13), ("float16", "f16", 2e-2)])
def test_each_type(kind: str, dtype: str, short: str, tolerance: float) -> None:
    given = arrays(dtype, 1, 4 if kind == "inference" else 2)
    found = run(stablehlo_to_onnx(text(kind, short, 1, SHAPE)), *given)
    for ours, theirs in zip(found, expected(given[0], 1, *given[1:]), strict=True):
        assert ours.dtype == given[0].dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["inference", "training"])
def test_an_unknown_batch(kind: str) -> None:
    model = stablehlo_to_onnx(text(kind, "f32", 1, ("?", *SHAPE[1:])))
    for batch in (1, 7):
        given = arrays("float32", 1, 4 if kind == "inference" else 2, batch)
        for found, wanted in zip(run(model, *given), expected(given[0], 1, *given[1:]), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_statistics_of_nothing_are_not_numbers() -> None:
    module = text("training", "f32", 1, (0, 2))
    compare_text(module, np.zeros((0, 2), np.float32), *np.ones((2, 2), np.float32))


def test_special_values() -> None:
    x = np.array([[np.nan, np.inf], [-np.inf, 0.0], [1.0, -0.0]], np.float32)
    vectors = np.array([[2, 0], [1, -0.0], [0, 0], [1, 4]], np.float32)
    compare_text(text("inference", "f32", 1, (3, 2)), x, *vectors, ulps=4)
