"""Operands that change nothing go, to the bit; constant conditions choose; powers of two multiply."""

from __future__ import annotations

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

NEUTRAL = {"Max": -np.inf, "Min": np.inf, "Mul": 1.0}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op_type", NEUTRAL)
def test_neutral_elements_go(op_type: str, seed: int) -> None:
    sketch = Sketch(seed)
    x = sketch.x(*(sketch.size() for _ in range(sketch.size(0, 3))))
    y = sketch.mixed(op_type, x, sketch.number(NEUTRAL[op_type]))
    assert op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=0)) == {"Abs": 1}


@pytest.mark.parametrize("op_type", NEUTRAL)
def test_other_elements_stay(op_type: str) -> None:
    for other in (0.5, -NEUTRAL[op_type]):
        sketch = Sketch(0)
        y = sketch.mixed(op_type, sketch.x(3), sketch.number(other))
        assert op_type in op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=0))


def test_what_is_neutral_on_the_right_goes_only_there() -> None:
    edges = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 3.0]], np.float32)
    assert op_types(run_and_compare(lambda x: jnp.abs((x - 0.0) / 1.0), edges, rtol=0)) == {"Abs": 1}
    model = run_and_compare(lambda x: [x - -0.0, 0.0 - x, 1.0 / x], edges, rtol=0)
    assert op_types(model) == {"Sub": 2, "Div": 1}


def test_a_neutral_element_that_broadcasts_stays() -> None:
    sketch = Sketch(0)
    ones = sketch.constant(np.ones((4, 1, 3), np.float32))
    y = sketch.mixed("Mul", sketch.x(3), ones)
    assert op_types(transformed(sketch, sketch.same_type("Abs", y), rtol=0)) == {"Mul": 1, "Abs": 1}


def test_neutral_elements_change_no_bits() -> None:
    edges = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45]], np.float32)
    run_and_compare(lambda x: jnp.abs(jnp.minimum(jnp.maximum(x * 1.0, -jnp.inf), jnp.inf)), edges, rtol=0)


def test_a_mean_of_squares_needs_no_zero_below_it() -> None:
    edges = np.array([[[np.nan, 1.0]], [[np.inf, 1.0]], [[0.0, -0.0]], [[3.0, -4.0]]], np.float32)
    model = run_and_compare(lambda x: jnp.maximum((x * x).mean(-1, keepdims=True), 0), edges, rtol=0)
    assert "Max" not in op_types(model)
    model = run_and_compare(lambda x: jnp.maximum(x.mean(-1, keepdims=True), 0), edges, rtol=0)
    assert op_types(model)["Max"] == 1


def chosen(condition: np.ndarray, *, broadcast: bool = False) -> dict[str, int]:
    sketch = Sketch(0)
    x = sketch.x(3)
    a = sketch.weight(1) if broadcast else sketch.same_type("Neg", x)
    b = sketch.same_type("Abs", x)
    y = sketch.node("Where", [sketch.constant(condition), a, b], oir.DataType.FLOAT, sketch.shape(x))
    return op_types(transformed(sketch, y, rtol=0))


def test_constant_conditions_choose() -> None:
    assert chosen(np.asarray(True)) == {"Neg": 1}
    assert chosen(np.asarray([[False]])) == {"Abs": 1}


def test_conditions_by_element_and_branches_that_broadcast_stay() -> None:
    assert chosen(np.asarray([True, False, True]))["Where"] == 1
    assert chosen(np.asarray(True), broadcast=True)["Where"] == 1


@pytest.mark.parametrize("divisor", [2.0, -4.0, 0.5, 2.0**-8, 1.0])
def test_quotients_by_powers_of_two_are_products(divisor: float) -> None:
    sketch = Sketch(0)
    y = sketch.same_type("Div", sketch.x(40), sketch.number(divisor))
    assert "Div" not in op_types(transformed(sketch, sketch.same_type("Neg", y), rtol=0))


@pytest.mark.parametrize("divisor", [3.0, 0.1, 0.0, np.inf, np.nan, 2.0**-140])
def test_other_quotients_stay(divisor: float) -> None:
    sketch = Sketch(0)
    y = sketch.same_type("Div", sketch.x(40), sketch.number(divisor))
    assert op_types(transformed(sketch, y, rtol=0)) == {"Div": 1}


def test_a_power_of_two_over_x_stays() -> None:
    sketch = Sketch(0)
    assert op_types(transformed(sketch, sketch.same_type("Div", sketch.number(2), sketch.x(4)), rtol=0)) == {"Div": 1}
