"""A logistic function becomes Sigmoid where it scales another value, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

#: Sigmoid's error in ONNX Runtime, relative to the value that it scales.
RTOL = 2e-7

X = np.concatenate([np.linspace(-30, 10, 78), [-1e30, 1e30]]).reshape(4, 20).astype(np.float32)
EDGES = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0] * 4], np.float32)

GATES: dict[str, tuple[Callable[[jax.Array], jax.Array], dict[str, int]]] = {
    "silu": (jax.nn.silu, {"Mul": 1, "Sigmoid": 1}),
    "silu by hand": (lambda x: x / (1 + jnp.exp(-x)), {"Mul": 1, "Sigmoid": 1}),
    "with a factor": (lambda x: x * sigmoid(1.702 * x), {"Mul": 2, "Sigmoid": 1}),
    "glu": (jax.nn.glu, {"Mul": 1, "Sigmoid": 1, "Split": 1}),
    "one gate for many": (lambda x: x * sigmoid(x[:, 3])[:, None], {"Mul": 1, "Sigmoid": 1, "Slice": 1}),
    "two ways": (
        lambda x: (1 - sigmoid(x)) * -x + sigmoid(x) * x,
        {"Add": 1, "Mul": 2, "Neg": 1, "Sigmoid": 1, "Sub": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_gates(name: str) -> None:
    function, counts = GATES[name]
    model = lower(function, X)
    assert op_types(model) == counts
    for x in (X, EDGES):
        wanted = np.asarray(jax.jit(function)(x))
        for optimized in (False, True):
            (found,) = run(model, x, optimized=optimized)
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            scaled = np.abs(x[:, : found.shape[1]])
            with np.errstate(invalid="ignore"):
                near = np.abs(found - wanted) <= RTOL * np.where(np.isfinite(scaled), scaled, 0) + RTOL
            assert (near | (found == wanted) | np.isnan(wanted)).all()


OTHERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "an output": sigmoid,
    "a logarithm": lambda x: x + jnp.log(sigmoid(x)),
    "a gate and more": lambda x: (x * sigmoid(x)) + 1 / sigmoid(x),
    "a constant factor": lambda x: 16 * sigmoid(x),
    "a product of two": lambda x: sigmoid(x) * sigmoid(x - 1),
    "its square": lambda x: sigmoid(x) ** 2,
    "another quotient": lambda x: x / (2 + jnp.exp(-x)),
}


def test_digits_stay_where_they_may_matter() -> None:
    x = X[:, :-2]
    model = lower(lambda x: [f(x) for f in OTHERS.values()], X[:3])
    assert "Sigmoid" not in op_types(model)
    x = X[:3]
    for found, f in zip(run(model, x), OTHERS.values(), strict=True):
        np.testing.assert_allclose(found, np.asarray(jax.jit(f)(x)), rtol=2e-6)


def test_quick_gelu_in_onnx_runtime() -> None:
    for function in (jax.nn.silu, lambda x: x * sigmoid(1.702 * x)):
        counts = op_types(run_and_compare(function, X[:2], rtol=RTOL * 30, target="onnxruntime"))
        assert counts == {"QuickGelu": 1}


def test_float64_keeps_its_digits() -> None:
    with jax.enable_x64(True):
        counts = op_types(run_and_compare(jax.nn.silu, X[:2].astype(np.float64), rtol=1e-15))
    assert "Sigmoid" not in counts
