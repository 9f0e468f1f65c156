"""Products with transposed matrices become Gemm, weights and biases as they are stored."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: Sums of at most 20 products, in another order.
RTOL = 1e-6


class Linear(Sketch):
    """Layers of drawn width on an input of drawn rank."""

    def start(self) -> oir.Value:
        return self.x(*(self.size() for _ in range(self.size(0, 3))), self.size(2, 20))

    def layer(self, x: oir.Value, *, bias: bool) -> oir.Value:
        columns = self.size(1, 9)
        weight = self.weight(columns, int(self.shape(x)[-1]))
        y = self.matmul(x, self.transpose(weight, [1, 0]))
        return self.mixed("Add", y, self.weight(columns)) if bias else y


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_gemm_takes_weight_and_bias_as_they_are_stored(seed: int, bias: bool) -> None:
    sketch = Linear(seed)
    y = sketch.layer(sketch.start(), bias=bias)
    stored = {name: value.const_value.numpy() for name, value in sketch.initializers.items()}
    model = transformed(sketch, sketch.same_type("Exp", sketch.same_type("Abs", y)), rtol=5 * RTOL)
    counts = op_types(model)
    assert counts.pop("Gemm") == 1
    assert set(counts) <= {"Reshape", "Abs", "Exp"}
    for name in ("w0", "w1")[: 1 + bias]:
        np.testing.assert_array_equal(model.graph.initializers[name].const_value.numpy(), stored[name])


@pytest.mark.parametrize("seed", range(6))
def test_layers_in_a_row_share_their_rows(seed: int) -> None:
    sketch = Linear(seed)
    x = sketch.x(3, 4, 5)
    y = sketch.layer(sketch.same_type("Tanh", sketch.layer(x, bias=sketch.coin())), bias=sketch.coin())
    counts = op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=RTOL))
    assert counts == {"Reshape": 2, "Gemm": 2, "Tanh": 1, "Abs": 1}


def test_what_is_no_bias_is_added_outside() -> None:
    sketch = Linear(0)
    y = sketch.layer(sketch.x(5, 6), bias=False)
    y = sketch.mixed("Add", y, sketch.weight(5, 1))
    assert op_types(transformed(sketch, y, rtol=RTOL)) == {"Reshape": 2, "Gemm": 1, "Add": 1}


def test_a_product_that_others_use_keeps_its_bias_outside() -> None:
    sketch = Linear(0)
    y = sketch.layer(sketch.x(6), bias=False)
    biased = sketch.mixed("Add", y, sketch.weight(int(sketch.shape(y)[-1])))
    model = transformed(sketch, sketch.same_type("Abs", y), sketch.same_type("Exp", biased), rtol=5 * RTOL)
    assert op_types(model) == {"Gemm": 1, "Abs": 1, "Add": 1, "Exp": 1}


def test_matrices_that_differ_by_row_stay() -> None:
    sketch = Linear(0)
    x, weights = sketch.x(4, 5), sketch.x(6, 5)
    y = sketch.matmul(x, sketch.transpose(weights, [0, 2, 1]))
    assert "Gemm" not in op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=RTOL))


def test_a_product_that_is_an_output_keeps_its_name() -> None:
    sketch = Linear(0)
    model = transformed(sketch, sketch.layer(sketch.x(4, 6), bias=False), rtol=RTOL)
    assert [value.name for value in model.graph.outputs] == ["y0"]
