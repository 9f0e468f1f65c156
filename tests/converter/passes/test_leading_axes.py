"""Axes that broadcasting adds are not written."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run

from swift_export.converter.passes.nested import all_nodes

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
BIAS = np.arange(4, dtype=np.float32)


def shapes(model: object) -> list[list[int]]:
    """The shapes of all second operands."""
    nodes = all_nodes(model.graph)  # type: ignore[attr-defined]
    return [list(node.inputs[1].shape) for node in nodes if node.op_type in ("Add", "Div", "Mul", "Pow")]


def biased(x: jax.Array) -> jax.Array:
    return jnp.tanh(x + BIAS.reshape(1, 1, 4)) * x.sum() ** 2


def test_a_bias_is_a_vector() -> None:
    model = lower(biased, X, symbolic=None)
    assert [4] in shapes(model)
    for optimized in (False, True):
        np.testing.assert_allclose(run(model, X, optimized=optimized)[0], biased(X), rtol=1e-5)


@pytest.mark.parametrize("x", [np.ones((4,), np.float32), np.ones((3, 4), np.float32)], ids=["vector", "matrix"])
def test_the_result_keeps_its_axes(x: np.ndarray) -> None:
    def raised(x: jax.Array) -> jax.Array:
        return x / (BIAS + 1).reshape(1, 1, 4)

    model = lower(raised, x, symbolic=None)
    for optimized in (False, True):
        found = run(model, x, optimized=optimized)[0]
        assert found.shape == raised(x).shape
        np.testing.assert_allclose(found, raised(x), rtol=1e-6)
