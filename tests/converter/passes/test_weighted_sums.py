"""Weighted sums of a product's columns are products with smaller matrices, where that is exact up to rounding."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


W, U, V = normal(12, 24), normal(4, 6), normal(4, 6)


def scores(x: jax.Array) -> tuple[jax.Array, ...]:
    y = (x @ W).reshape(*x.shape[:-1], 4, 6)
    return y, (y * U).sum(-1), (V * y).sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 12)])
def test_several_sums_of_a_product(shape: tuple[int, ...]) -> None:
    assert op_types(run_and_compare(scores, normal(*shape))) == {"MatMul": 2, "Reshape": 2, "Slice": 2}


@pytest.mark.parametrize("kind", ["another axis", "few", "computed", "infinite"])
def test_other_sums_stay(kind: str) -> None:
    def function(x: jax.Array) -> tuple[jax.Array, ...]:
        y = (x @ W).reshape(-1, 4, 6)
        other = {
            "another axis": lambda: (y * U).sum(1),
            "few": lambda: ((x @ W).reshape(-1, 12, 2) * U.reshape(12, 2)).sum(-1),
            "computed": lambda: (y * jnp.sin(y)).sum(-1),
            "infinite": lambda: (y * np.where(U > 1, np.float32(3e38), U)).sum(-1),
        }
        return y, other[kind]()

    assert op_types(run_and_compare(function, normal(5, 12)))["ReduceSum"] == 1
