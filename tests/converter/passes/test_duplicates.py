"""Equal constants are stored once, unless they have names to be found by."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed


def unnamed(sketch: Sketch, elements: np.ndarray) -> oir.Value:
    """A constant that the builder does not share."""
    return sketch.initializer(f"constant_{1000 + len(sketch.initializers)}", elements)


def summed(sketch: Sketch, constants: list[oir.Value]) -> oir.Value:
    y = sketch.x(*sketch.shape(constants[0]))
    for constant in constants:
        y = sketch.same_type("Max", sketch.same_type("Mul", y, constant), constant)
    return y


@pytest.mark.parametrize("seed", range(12))
def test_equal_bytes_of_one_type_and_shape_are_stored_once(seed: int) -> None:
    sketch = Sketch(seed)
    shape = tuple(sketch.size() for _ in range(sketch.size(1, 4)))
    kinds = [sketch.draw.standard_normal(shape).astype(np.float32) for _ in range(3)]
    drawn = [int(i) for i in sketch.draw.integers(3, size=8)]
    model = transformed(sketch, summed(sketch, [unnamed(sketch, kinds[i]) for i in drawn]), rtol=0)
    stored = [value.const_value.numpy() for value in model.graph.initializers.values()]
    assert len(stored) == len(set(drawn))


PAIRS = {
    "sign of zero": (np.zeros((2, 40), np.float32), -np.zeros((2, 40), np.float32)),
    "one element": (np.ones((2, 40), np.float32), np.r_[np.ones(79), 2].reshape(2, 40).astype(np.float32)),
    "shape": (np.ones((2, 40), np.float32), np.ones((1, 40), np.float32)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_stays(name: str) -> None:
    sketch = Sketch(0)
    model = transformed(sketch, summed(sketch, [unnamed(sketch, a) for a in PAIRS[name]]), rtol=0)
    assert len(model.graph.initializers) == 2


def test_equal_bits_of_other_types_stay() -> None:
    sketch = Sketch(0)
    whole, real = unnamed(sketch, np.zeros(3, np.int32)), unnamed(sketch, np.zeros(3, np.float32))
    y = sketch.same_type("Mul", sketch.x(3), real)
    z = sketch.same_type("Add", sketch.cast(y, oir.DataType.INT32), whole)
    assert len(transformed(sketch, z, rtol=0).graph.initializers) == 2


def test_constants_with_names_are_all_kept() -> None:
    sketch = Sketch(0)
    ones = np.ones((2, 3), np.float32)
    constants = [sketch.initializer(name, ones) for name in ("norm1.weight", "norm2.weight")]
    model = transformed(sketch, summed(sketch, constants), rtol=0)
    assert list(model.graph.initializers) == ["norm1.weight", "norm2.weight"]


def test_nodes_that_became_equal_are_one() -> None:
    sketch = Sketch(0)
    x, ones = sketch.x(2, 3), np.ones((2, 3), np.float32)
    a, b = (sketch.same_type("Mul", x, unnamed(sketch, ones)) for _ in range(2))
    assert op_types(transformed(sketch, sketch.same_type("Max", a, b), rtol=0)) == {"Mul": 1, "Max": 1}
