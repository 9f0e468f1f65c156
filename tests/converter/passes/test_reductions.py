"""Reductions as ONNX spells them: reduced axes kept, sums over n as means."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

from swift_export.converter.passes.reductions import REDUCTIONS

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

#: Sums of at most 36 numbers, in another order, divided before or after.
RTOL = 1e-6


class Reduced(Sketch):
    """A drawn input and some of its known axes."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.source = self.x(*(self.size() for _ in range(self.size(1, 4))))
        known = range(1, len(self.shape(self.source)))
        self.axes = sorted(int(a) for a in self.draw.choice(known, self.size(1, 1 + min(2, len(known))), replace=False))
        self.number_summed = math.prod(int(self.shape(self.source)[a]) for a in self.axes)

    def reduce(self, op_type: str, *, keepdims: bool) -> oir.Value:
        if keepdims:
            return self.reduced(op_type, self.source, self.axes)
        shape = tuple(s for a, s in enumerate(self.shape(self.source)) if a not in self.axes)
        return self.typed(op_type, [self.source, self.integers(self.axes)], shape, keepdims=0)

    def kept(self, x: oir.Value) -> oir.Value:
        shape = list(self.shape(x))
        for axis in self.axes:
            shape.insert(axis, 1)
        return self.typed("Unsqueeze", [x, self.integers(self.axes)], tuple(shape))


@pytest.mark.parametrize("op_type", REDUCTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_reduced_axes_are_kept_rather_than_put_back(op_type: str, seed: int) -> None:
    sketch = Reduced(seed)
    y = sketch.same_type("Sub", sketch.source, sketch.kept(sketch.reduce(op_type, keepdims=False)))
    model = transformed(sketch, y, rtol=RTOL)
    found = {node.op_type for node in model.graph.all_nodes()}
    assert "Unsqueeze" not in found
    # Around extremes there are nodes that keep NaN, in a branch too.
    assert op_type in found if op_type in ("ReduceMax", "ReduceMin") else op_types(model) == {op_type: 1, "Sub": 1}


def test_a_reduction_that_others_use_stays() -> None:
    sketch = Reduced(0)
    y = sketch.reduce("ReduceMax", keepdims=False)
    outputs = sketch.same_type("Sub", sketch.source, sketch.kept(y)), sketch.same_type("Abs", y)
    assert op_types(transformed(sketch, *outputs, rtol=RTOL))["Unsqueeze"] == 1


@pytest.mark.parametrize("used", [False, True])
def test_axes_are_kept_through_pointwise_ops(used: bool) -> None:
    sketch = Reduced(1)
    mean, square = (sketch.reduce(op_type, keepdims=False) for op_type in ("ReduceSum", "ReduceProd"))
    spread = sketch.same_type("Sqrt", sketch.same_type("Abs", sketch.mixed("Mul", mean, square)))
    outputs = [sketch.mixed("Mul", sketch.same_type("Sub", sketch.source, sketch.kept(mean)), sketch.kept(spread))]
    if used:
        outputs.append(sketch.same_type("Neg", spread))
    counts = op_types(transformed(sketch, *outputs, rtol=RTOL))
    assert counts.get("Unsqueeze", 0) == 2 * used
    assert counts["ReduceSum"] == counts["ReduceProd"] == 1


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_sums_over_their_number_are_means(seed: int, keepdims: bool) -> None:
    sketch = Reduced(seed)
    y = sketch.same_type("Div", sketch.reduce("ReduceSum", keepdims=keepdims), sketch.number(sketch.number_summed))
    assert op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=RTOL)) == {"ReduceMean": 1, "Abs": 1}


@pytest.mark.parametrize("seed", range(8))
def test_one_sum_that_is_divided_twice_is_one_mean(seed: int) -> None:
    sketch = Reduced(seed)
    total, n = sketch.reduce("ReduceSum", keepdims=False), sketch.number(sketch.number_summed)
    before = sketch.same_type("Div", sketch.kept(total), n)
    after = sketch.kept(sketch.same_type("Div", total, n))
    y = sketch.same_type("Mul", sketch.same_type("Sub", sketch.source, before), sketch.same_type("Tanh", after))
    assert op_types(transformed(sketch, y, rtol=RTOL)) == {"ReduceMean": 1, "Sub": 1, "Tanh": 1, "Mul": 1}


@pytest.mark.parametrize("fault", ["number", "order", "used"])
def test_other_quotients_stay(fault: str) -> None:
    sketch = Reduced(3)
    total = sketch.reduce("ReduceSum", keepdims=True)
    n = sketch.number(sketch.number_summed + (0.5 if fault == "number" else 0))
    y = sketch.same_type("Div", n, total) if fault == "order" else sketch.same_type("Div", total, n)
    outputs = [y, sketch.same_type("Abs", total)] if fault == "used" else [y]
    assert "ReduceMean" not in op_types(transformed(sketch, *outputs, rtol=RTOL))


def test_means_over_an_unknown_number_stay_quotients() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6), np.float32)
    assert op_types(run_and_compare(lambda x: jnp.mean(x, 3) + 1, x)) == {"ReduceMean": 1, "Add": 1}
    assert "ReduceMean" not in op_types(run_and_compare(lambda x: jnp.mean(x, (0, 3)), x))
