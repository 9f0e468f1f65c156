"""Quotients of exponentials by their sum become Softmax."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, run, transformed

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run_and_compare

#: Sums of at most 6 exponentials, in another order, of numbers up to about 80.
RTOL = 2e-6


class Quotient(Sketch):
    """A drawn input of scores and a drawn axis."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        x = self.x(*(self.size() for _ in range(self.size(1, 4))))
        self.scores = self.same_type("Mul", x, self.number(20))
        self.axis = self.size(1, len(self.shape(x)))

    def exponentials(self, largest: oir.Value) -> oir.Value:
        return self.same_type("Exp", self.same_type("Sub", self.scores, largest))

    def over_sum(self, e: oir.Value, axes: list[int] | None = None) -> oir.Value:
        return self.same_type("Div", e, self.reduced("ReduceSum", e, axes or [self.axis]))

    def largest(self, axes: list[int] | None = None) -> oir.Value:
        return self.reduced("ReduceMax", self.scores, axes or [self.axis])


@pytest.mark.parametrize("seed", range(12))
def test_softmax(seed: int) -> None:
    sketch = Quotient(seed)
    model = transformed(sketch, sketch.over_sum(sketch.exponentials(sketch.largest())), rtol=RTOL)
    assert op_types(model) == {"Mul": 1, "Softmax": 1}
    (node,) = (node for node in model.graph if node.op_type == "Softmax")
    rank = len(sketch.shape(sketch.scores))
    assert node.attributes["axis"].as_int() % rank == sketch.axis


def two_axes(s: Quotient) -> oir.Value:
    return s.over_sum(s.exponentials(s.largest([0, 1])), [0, 1])


def another_axis_of_the_largest(s: Quotient) -> oir.Value:
    return s.over_sum(s.exponentials(s.largest([0])))


def the_smallest(s: Quotient) -> oir.Value:
    return s.over_sum(s.exponentials(s.reduced("ReduceMean", s.scores, [s.axis])))


def the_sum_of_something_else(s: Quotient) -> oir.Value:
    e = s.exponentials(s.largest())
    return s.same_type("Div", e, s.reduced("ReduceSum", s.same_type("Sqrt", e), [s.axis]))


def the_sum_over_exponentials(s: Quotient) -> oir.Value:
    e = s.exponentials(s.largest())
    return s.same_type("Div", s.reduced("ReduceSum", e, [s.axis]), s.same_type("Max", e, s.number(0.5)))


OTHERS: tuple[Callable[[Quotient], oir.Value], ...] = (
    two_axes,
    another_axis_of_the_largest,
    the_smallest,
    the_sum_of_something_else,
    the_sum_over_exponentials,
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_other_quotients_stay(near_miss: Callable[[Quotient], oir.Value], seed: int) -> None:
    sketch = Quotient(seed)
    sketch.scores = sketch.same_type("Tanh", sketch.scores)
    assert "Softmax" not in op_types(transformed(sketch, near_miss(sketch), rtol=RTOL))


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_as_jax_writes_it(axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6), np.float32)
    assert op_types(run_and_compare(lambda x: jax.nn.softmax(x, axis=axis), x, rtol=RTOL)) == {"Softmax": 1}


#: Rows with NaN, infinities, and none that counts.
ROWS = np.array(
    [
        [0, 1, 2, 3],
        [-1, 1e4, 2, 3],
        [np.nan, 1, 2, 3],
        [3, 2, 1, np.inf],
        [1, 2, -np.inf, 3],
        [-np.inf] * 4,
        [-1, -2, -3, -4],
        [-1, -2, np.nan, 4],
    ],
    np.float32,
)


def test_logarithms_masks_and_16_bits() -> None:
    functions: dict[str, Callable[[jax.Array], jax.Array]] = {
        "LogSoftmax": jax.nn.log_softmax,
        "Softmax": lambda x: jax.nn.softmax(x, where=x > 0),
        "Softmax, ones that it masks": lambda x: jax.nn.softmax(x, where=x != 2, axis=0),
        "LogSoftmax, masked": lambda x: jax.nn.log_softmax(x, where=x > 0),
        "LogSoftmax, of an axis": lambda x: jax.nn.log_softmax(x, axis=0),
        "Softmax, short": lambda x: jax.nn.softmax(x.astype(np.float16)),
    }
    model = lower(lambda x: [f(x) for f in functions.values()], ROWS, symbolic=None)
    counts = op_types(model)
    assert (counts["Softmax"], counts["LogSoftmax"]) == (3, 3)
    assert not {"ReduceMax", "ReduceSum", "Exp", "Log"} & set(counts)
    for optimized in (False, True):
        for (name, function), found in zip(functions.items(), run(model, ROWS, optimized=optimized), strict=True):
            rtol = 2e-3 if found.dtype == np.float16 else RTOL
            np.testing.assert_allclose(found, jax.jit(function)(ROWS), rtol=rtol, atol=rtol, err_msg=name)


def test_another_mask_of_the_sum_stays() -> None:
    def others(x: jax.Array) -> jax.Array:
        e = jax.numpy.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True, where=x > 0)

    assert "Softmax" not in op_types(run_and_compare(others, ROWS[:1], rtol=RTOL))
