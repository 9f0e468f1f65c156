"""Sums in front of norms keep their digits also where ONNX Runtime optimises."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, run, transformed


def normalised(sketch: Sketch, x: oir.Value) -> oir.Value:
    ones = sketch.initializer("ones", np.ones(int(sketch.shape(x)[-1]), np.float32))
    return sketch.typed("LayerNormalization", [x, ones], sketch.shape(x), axis=-1, epsilon=1e-5)


def test_the_variance_keeps_its_digits_beside_a_large_mean() -> None:
    sketch = Sketch(0)
    x, y = sketch.x(5, 64), sketch.x(5, 64)
    model = transformed(sketch, normalised(sketch, sketch.same_type("Add", x, y)), rtol=0)
    assert op_types(model) == {"Sum": 1, "LayerNormalization": 1}
    large = sketch.fed[0] + np.float32(1e4)
    total = (large + sketch.fed[1]).astype(np.float64)
    centred = total - total.mean(-1, keepdims=True)
    wanted = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    for optimized in (False, True):
        (found,) = run(model, large, sketch.fed[1], optimized=optimized)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["two uses", "a bias", "other axes"])
def test_what_the_runtime_leaves_stays(kind: str) -> None:
    sketch = Sketch(0)
    shape = (2, 3, 8) if kind == "other axes" else (3, 8)
    total = sketch.same_type("Add", sketch.x(*shape), sketch.weight(8) if kind == "a bias" else sketch.x(*shape))
    outputs = [normalised(sketch, total)]
    if kind == "two uses":
        outputs.append(sketch.typed("Exp", [total], sketch.shape(total)))
    assert op_types(transformed(sketch, *outputs, rtol=0))["Add"] == 1
