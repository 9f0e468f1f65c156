"""Products and sums per channel become part of unnamed weights before them; nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: Sums of at most 60 products, and products with factors that are rounded once.
RTOL = 3e-6


class Network(Sketch):
    """A convolution, or its transpose, and drawn ops per channel behind it."""

    def weight(self, *shape: int) -> oir.Value:
        """An unnamed constant with normal elements."""
        return self.constant(self.draw.standard_normal(shape, np.float32))

    def convolved(self, *, transposed: bool = False) -> oir.Value:
        rank, groups = self.size(1, 4), self.size(1, 3)
        inside, outside = 2 * groups, self.size(2, 5) * groups
        x = self.x(inside, *(4 for _ in range(rank)))
        shape = (inside, outside // groups) if transposed else (outside, inside // groups)
        kernel = self.weight(*shape, *(2 for _ in range(rank)))
        size = 5 if transposed else 3
        operands = [x, kernel, self.weight(outside)] if self.coin() else [x, kernel]
        op_type = "ConvTranspose" if transposed else "Conv"
        return self.typed(op_type, operands, (self.shape(x)[0], outside, *(size for _ in range(rank))), group=groups)

    def numbers(self, x: oir.Value, axis: int = 1) -> oir.Value:
        """One number a channel, or one for all; an expression of constants at times."""
        if self.draw.integers(4) == 0:
            return self.number(float(self.draw.uniform(0.5, 2)))
        shape = (int(self.shape(x)[axis]), *(1 for _ in self.shape(x)[axis + 1 :]))
        elements = self.draw.uniform(0.5, 2, shape).astype(np.float32)
        constant = self.constant(elements)
        return self.same_type("Sqrt", self.same_type("Add", constant, self.number(1e-3))) if self.coin() else constant

    def scaled(self, x: oir.Value, axis: int = 1) -> oir.Value:
        for _ in range(self.size(1, 6)):
            op_type = str(self.draw.choice(["Add", "Sub", "Mul", "Div"]))
            a, b = x, self.numbers(x, axis)
            x = self.same_type(op_type, *((b, a) if op_type != "Div" and self.coin() else (a, b)))
        return x


@pytest.mark.parametrize("seed", range(30))
def test_convolutions_take_all_in(seed: int) -> None:
    sketch = Network(seed)
    y = sketch.convolved(transposed=seed % 3 == 0)
    axes = range(1, len(sketch.shape(y)))
    order = [0, *map(int, sketch.draw.permutation(axes) if seed % 4 == 0 else axes)]
    y = sketch.scaled(sketch.transpose(y, order), order.index(1))
    counts = op_types(transformed(sketch, sketch.same_type("Tanh", y), rtol=RTOL))
    assert counts.pop("Transpose", 0) <= (seed % 4 == 0)
    assert counts in ({"Conv": 1, "Tanh": 1}, {"ConvTranspose": 1, "Tanh": 1})


@pytest.mark.parametrize("seed", range(12))
def test_products_take_scales_in(seed: int) -> None:
    sketch = Network(seed)
    x = sketch.x(5) if sketch.coin() else sketch.x(3, 5)
    weight = sketch.weight(4, 5)
    y = sketch.matmul(x, sketch.transpose(weight, [1, 0]) if sketch.coin() else sketch.weight(5, 4))
    y = sketch.same_type("Mul", sketch.scaled(y, len(sketch.shape(y)) - 1), sketch.weight(4))
    counts = op_types(transformed(sketch, sketch.same_type("Tanh", y), rtol=RTOL))
    assert not {"Mul", "Div", "Sub"} & set(counts)


def test_named_weights_stay_as_they_are() -> None:
    sketch = Sketch(0)
    x, kernel, bias, scale = sketch.x(2, 4), sketch.weight(3, 2, 2), sketch.weight(3, 1), sketch.weight(3, 1)
    y = sketch.mixed("Add", sketch.typed("Conv", [x, kernel], (sketch.shape(x)[0], 3, 3)), bias)
    plain = sketch.constant(np.ones((3, 2, 2), np.float32))
    z = sketch.mixed("Mul", sketch.typed("Conv", [x, plain], (sketch.shape(x)[0], 3, 3)), scale)
    model = transformed(sketch, y, sketch.mixed("Add", z, bias), rtol=RTOL)
    weights = {value.name: value.const_value.numpy() for value in (kernel, bias, scale)}
    for name, elements in weights.items():
        np.testing.assert_array_equal(model.graph.initializers[name].const_value.numpy(), elements)


def kept(op_type: str, y: oir.Value, sketch: Network, **shape: Any) -> dict[str, int]:
    other = sketch.weight(*shape["of"])
    return op_types(transformed(sketch, sketch.same_type("Tanh", sketch.same_type(op_type, y, other)), rtol=RTOL))


def test_what_differs_along_other_axes_stays() -> None:
    for place in (0, 2):
        sketch = Network(5)
        y = sketch.convolved()
        shape = [1] * len(sketch.shape(y))
        shape[place] = 3
        if place == 0:
            shape[2] = int(sketch.shape(y)[2])
        counts = kept("Mul", y, sketch, of=[*shape[1:]] if place else [int(sketch.shape(y)[-1])])
        assert counts["Mul"] == 1


def test_a_result_that_others_read_stays() -> None:
    sketch = Network(0)
    y = sketch.convolved()
    scaled = sketch.same_type("Mul", y, sketch.number(2.0))
    assert op_types(transformed(sketch, y, scaled, rtol=RTOL)) == {"Conv": 1, "Mul": 1}


def test_weights_that_others_read_are_not_stored_twice() -> None:
    sketch = Sketch(0)
    x, kernel = sketch.x(2, 4), sketch.weight(3, 2, 2)
    ys = [sketch.typed("Conv", [v, kernel], (sketch.shape(x)[0], 3, 3)) for v in (x, sketch.same_type("Tanh", x))]
    scaled = [sketch.mixed("Mul", y, sketch.weight(3, 1)) for y in ys]
    assert op_types(transformed(sketch, *scaled, rtol=RTOL))["Mul"] == 2


def test_factors_that_are_no_numbers_stay() -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 4)
    y = sketch.typed("Conv", [x, sketch.weight(3, 2, 2)], (sketch.shape(x)[0], 3, 3))
    zero = sketch.constant(np.asarray([[0.0], [1.0], [2.0]], np.float32))
    y = sketch.same_type("Tanh", sketch.same_type("Div", y, zero))
    assert op_types(transformed(sketch, y, rtol=RTOL)) == {"Conv": 1, "Div": 1, "Tanh": 1}
