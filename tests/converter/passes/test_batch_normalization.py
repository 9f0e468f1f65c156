"""Products and sums per channel that nothing takes in become one BatchNormalization; others stay."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed
from test_folded_weights import Network

#: Roundings of numbers that are at most 16 times larger.
RTOL = 5e-6


@pytest.mark.parametrize("seed", range(16))
def test_one_op_scales_and_shifts(seed: int) -> None:
    sketch = Network(seed)
    x = sketch.same_type("Tanh", sketch.x(4, *(3 for _ in range(sketch.size(1, 4)))))
    y = sketch.scaled(x)
    y = sketch.mixed(
        "Add", sketch.mixed("Mul", y, sketch.weight(4, *[1] * (len(sketch.shape(x)) - 2))), sketch.number(0.5)
    )
    counts = op_types(transformed(sketch, sketch.same_type("Add", x, sketch.same_type("Tanh", y)), rtol=RTOL))
    assert counts["BatchNormalization"] >= 1


def test_named_constants_stay_as_they_are() -> None:
    sketch = Sketch(0)
    x, scale, shift = sketch.x(4, 3), sketch.weight(4), sketch.weight(4)
    y = sketch.same_type("Mul", x, sketch.reshape(scale, (4, 1)))
    y = sketch.same_type("Add", y, sketch.reshape(shift, (4, 1)))
    model = transformed(sketch, y, rtol=RTOL)
    assert not {"BatchNormalization"} & set(op_types(model))
    assert {"w0", "w1"} <= set(model.graph.initializers)


def test_large_means_are_subtracted_first() -> None:
    sketch = Network(0)
    x = sketch.x(4, 3)
    far = sketch.constant(np.full((4, 1), 1e4, np.float32))
    y = sketch.same_type("Mul", sketch.same_type("Sub", x, far), sketch.weight(4, 1))
    counts = op_types(transformed(sketch, sketch.same_type("Add", y, sketch.weight(4, 1)), rtol=RTOL))
    assert counts["Sub"] == 1


def test_what_is_the_same_for_all_channels_or_only_one_op_stays() -> None:
    sketch = Network(0)
    x = sketch.x(4, 3)
    same = sketch.same_type("Add", sketch.same_type("Mul", x, sketch.number(2.0)), sketch.number(1.0))
    alone = sketch.mixed("Mul", x, sketch.weight(4, 1))
    assert "BatchNormalization" not in op_types(transformed(sketch, same, alone, rtol=RTOL))
