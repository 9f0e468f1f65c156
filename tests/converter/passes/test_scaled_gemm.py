"""A constant factor of a product becomes Gemm's own."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed
from test_bias_gelu import linear

#: One rounding of the product instead of one of the factor's.
RTOL = 1e-6


def scaled(sketch: Sketch, x: oir.Value, factor: float) -> oir.Value:
    return sketch.mixed("Mul", x, sketch.number(factor))


@pytest.mark.parametrize("seed", range(12))
def test_alpha_and_beta_are_the_factor(seed: int) -> None:
    sketch = Sketch(seed)
    factor = float(sketch.draw.uniform(-2, 2))
    y = linear(sketch, sketch.x(sketch.size(), 5), 6, bias=sketch.coin())
    y = sketch.reshape(y, (1, *sketch.shape(y))) if sketch.coin() else y
    model = transformed(sketch, scaled(sketch, y, factor), rtol=RTOL)
    (gemm,) = [node for node in model.graph if node.op_type == "Gemm"]
    assert "Mul" not in op_types(model)
    assert gemm.attributes["alpha"].as_float() == pytest.approx(factor, rel=1e-6)
    assert gemm.attributes["beta"].as_float() == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_two_factors_one_of_which_is_too_late(seed: int) -> None:
    sketch = Sketch(seed)
    y = scaled(sketch, scaled(sketch, linear(sketch, sketch.x(5), 6), 0.5), 3.0)
    counts = op_types(transformed(sketch, y, rtol=RTOL))
    assert counts["Gemm"] == 1
    assert counts.get("Mul", 0) <= 1


@pytest.mark.parametrize("factor", [0.0, float("inf")])
def test_factors_that_make_other_numbers_of_nan_stay(factor: float) -> None:
    sketch = Sketch(0)
    y = scaled(sketch, sketch.typed("Tanh", [linear(sketch, sketch.x(5), 6)], (3, 6)), 1.0)
    assert "alpha" not in str(transformed(sketch, scaled(sketch, y, factor), rtol=0).graph)


def test_a_product_that_is_used_unscaled_too_stays() -> None:
    sketch = Sketch(3)
    y = linear(sketch, sketch.x(5), 6)
    counts = op_types(transformed(sketch, y, scaled(sketch, y, 0.5), rtol=RTOL))
    assert counts["Mul"] == 1
