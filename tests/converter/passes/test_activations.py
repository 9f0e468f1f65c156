"""Activations become one op, or the fewest nodes that keep their digits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, run, transformed

from swift_export.converter import stablehlo_to_onnx

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower

SIZES = np.exp2(np.linspace(-60, 7, 200))
X = np.concatenate([SIZES, -SIZES, [0, -0.0, np.inf, -np.inf, np.nan, 3, -3, 20.5, -1e30, 1e30]]).astype(np.float32)


def exact_softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def exact_elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


SOFTPLUS = {"Abs", "Add", "Exp", "Log", "Max", "Neg", "Sub"}
#: In JAX; in float64; the nodes; the error in units of the last place.
ACTIVATIONS: dict[str, tuple[Callable[..., jax.Array], Callable[[np.ndarray], np.ndarray], set[str], float]] = {
    "softplus": (jax.nn.softplus, exact_softplus, SOFTPLUS, 3),
    "log_sigmoid": (jax.nn.log_sigmoid, lambda x: -exact_softplus(-x), SOFTPLUS, 3),
    "mish": (jax.nn.mish, lambda x: x * np.tanh(exact_softplus(x)), {"Add", "Div", "Exp", "Min", "Mul"}, 6),
    "elu": (jax.nn.elu, exact_elu, {"Clip", "Div", "Max", "Mul", "Sub", "Tanh"}, 6),
    "elu, alpha": (
        lambda x: jax.nn.elu(x, 0.3),
        lambda x: np.where(x > 0, x, np.float32(0.3) * exact_elu(x)),
        {"Clip", "Div", "Max", "Mul", "Sub", "Tanh"},
        6,
    ),
    "elu, alpha above 1": (
        lambda x: jax.nn.elu(x, 1.7),
        lambda x: np.where(x > 0, x, np.float32(1.7) * exact_elu(x)),
        {"Div", "Greater", "Mul", "Sub", "Tanh", "Where"},
        6,
    ),
    "celu": (
        lambda x: jax.nn.celu(x, 0.5),
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0) / 0.5)),
        {"Add", "Div", "Less", "Max", "Mul", "Sub", "Tanh", "Where"},
        6,
    ),
    "hard_tanh": (jax.nn.hard_tanh, lambda x: np.clip(x, -1, 1), {"Clip"}, 0),
    "leaky_relu, as a maximum": (
        lambda x: jnp.maximum(0.25 * x, x), lambda x: np.maximum(x, 0.25 * x), {"LeakyRelu"}, 1
    ),
    "leaky_relu": (jax.nn.leaky_relu, lambda x: np.where(x >= 0, x, np.float32(0.01) * x), {"LeakyRelu"}, 1),
    "clip": (lambda x: jnp.clip(x, -2, 3), lambda x: np.clip(x, -2, 3), {"Clip"}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_activations_keep_their_digits(name: str) -> None:
    function, exact, nodes, ulps = ACTIVATIONS[name]
    model = lower(function, X[None])
    assert set(op_types(model)) == nodes
    wanted = exact(X.astype(np.float64))
    own = np.asarray(jax.jit(function)(X))
    for optimized in (False, True):
        found = run(model, X[None], optimized=optimized)[0][0]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(own))
        np.testing.assert_array_equal(found[~np.isfinite(own)], own[~np.isfinite(own)])
        near = np.isfinite(own)
        np.testing.assert_allclose(found[near], wanted[near], rtol=ulps * 2.0**-23, atol=1e-37)
        if "elu" in name:
            np.testing.assert_array_equal(np.signbit(found[near]), np.signbit(own[near]))


def test_hard_activations() -> None:
    model = lower(lambda x: (jax.nn.hard_silu(x), jax.nn.hard_sigmoid(x)), X[None])
    assert op_types(model) == {"HardSigmoid": 1, "HardSwish": 1}
    wanted = [np.asarray(jax.jit(f)(X)) for f in (jax.nn.hard_silu, jax.nn.hard_sigmoid)]
    for optimized in (False, True):
        for found, expected in zip(run(model, X[None], optimized=optimized), wanted, strict=True):
            np.testing.assert_allclose(found[0], expected, rtol=3e-7, atol=4e-7)


def test_others_stay() -> None:
    def others(x: jax.Array) -> list[jax.Array]:
        return [
            jnp.where(x > 0, x, jnp.expm1(x)),
            jnp.where(x >= 1, x, x * 0.1),
            jnp.where(x >= 0, x, 0.1),
            jnp.logaddexp(x, 1.0),
            jnp.minimum(jnp.maximum(x, 3), -2),
            jnp.maximum(x, 1.5 * x),
            jnp.where(x > -2, -2, jnp.where(x < 3, 3, x)),
            jax.nn.relu6(x + 2) / 6,
            jnp.minimum(jnp.maximum(x, 0), 6),
        ]

    x = X[np.abs(X) < 80][None]
    model = lower(others, x)
    assert not {"Clip", "HardSigmoid", "LeakyRelu", "Tanh"} & set(op_types(model))
    for found, wanted in zip(run(model, x), jax.jit(others)(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_weight_stays_in_the_file() -> None:
    weights = {"slope": np.asarray(0.25, np.float32)}
    exported = jax.export.export(jax.jit(lambda slope, x: jnp.where(x >= 0, x, slope * x)))(weights["slope"], X)
    model = stablehlo_to_onnx(exported.mlir_module_serialized, constants=weights, argument_names=["slope", "x"])
    assert "slope" in model.graph.initializers
    np.testing.assert_array_equal(run(model, X)[0], np.where(X >= 0, X, 0.25 * X))


@pytest.mark.parametrize("seed", range(3))
def test_a_relu_with_a_limit(seed: int) -> None:
    sketch = Sketch(seed)
    x = sketch.x(sketch.size(), sketch.size())
    limited = sketch.mixed("Min", sketch.same_type("Relu", x), sketch.number(0.5))
    (node,) = transformed(sketch, limited, rtol=0).graph
    assert (node.op_type, node.domain) == ("Clip", "")
