"""Biases by head join the product whose columns are cut into heads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed


class Heads(Sketch):
    """A product over the last axis of x whose columns become heads and channels."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.heads, self.channels = self.size(), self.size()
        rows = self.x(self.size(), self.size())
        width = int(self.shape(rows)[-1])
        self.product = self.matmul(rows, self.weight(width, self.heads * self.channels))
        self.cut = self.reshape(self.product, (*self.shape(rows)[:-1], self.heads, self.channels))


@pytest.mark.parametrize("seed", range(8))
def test_biases_join_the_product(seed: int) -> None:
    sketch = Heads(seed)
    front = (1,) * sketch.size(0, 3)
    shape = (*front, sketch.heads, sketch.channels)
    bias = sketch.weight(*shape) if sketch.coin() else sketch.constant(sketch.draw.random(shape, "float32"))
    model = transformed(sketch, sketch.mixed("Add", sketch.cut, bias), rtol=0)
    (added,) = (node for node in model.graph if node.op_type == "Add")
    assert "MatMul" in [value.producer().op_type for value in added.inputs if value.producer() is not None]
    # Only named weights are reshaped in the file.
    named = bias.name is not None and bias.name.startswith("w")
    assert op_types(model) == {"MatMul": 1, "Add": 1, "Reshape": 2 if named else 1}


def by_head(s: Heads) -> list[oir.Value]:
    return [s.mixed("Add", s.cut, s.weight(s.heads, 1))]


def two_uses(s: Heads) -> list[oir.Value]:
    return [s.mixed("Add", s.cut, s.weight(s.heads, s.channels)), s.cut]


def rows_cut_as_well(s: Heads) -> list[oir.Value]:
    bias = s.weight(int(s.shape(s.cut)[1]), s.heads, s.channels)
    return [s.mixed("Add", s.cut, bias)]


@pytest.mark.parametrize("near_miss", [by_head, two_uses, rows_cut_as_well], ids=lambda f: f.__name__)
def test_other_sums_stay(near_miss: Callable[[Heads], list[oir.Value]]) -> None:
    sketch = Heads(0)
    model = transformed(sketch, *near_miss(sketch), rtol=0)
    (added,) = (node for node in model.graph if node.op_type == "Add")
    assert "Reshape" in [value.producer().op_type for value in added.inputs if value.producer() is not None]
