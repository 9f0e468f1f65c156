"""Sums of windows over the number of their elements become AveragePool, in every layout; other quotients stay."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

X = np.random.default_rng(0).standard_normal((2, 7, 8, 3), np.float32)
SAME = ((1, 3, 2, 1), (1, 2, 2, 1), "SAME")


def sums(x: jax.Array, window: tuple[int, ...], strides: tuple[int, ...], padding: str) -> jax.Array:
    return lax.reduce_window(x, 0.0, lax.add, window, strides, padding)


def test_averages() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        ones, turned = jnp.ones((1, 7, 8, 1)), jnp.moveaxis(x, 3, 1)
        return [
            sums(x, *SAME) / 6,
            sums(-x, *SAME) / sums(ones, *SAME),
            sums(turned, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") * 0.25,
            sums(x[:, :, 0], (1, 2, 1), (1, 1, 1), "VALID") / 2,
        ]

    model = run_and_compare(function, X, rtol=2e-6)
    counts = op_types(model)
    assert counts["AveragePool"] == 4
    assert not {"Conv", "Div", "Mul"} & set(counts)
    padding = [n.attributes["count_include_pad"].as_int() for n in model.graph if n.op_type == "AveragePool"]
    assert sorted(padding) == [0, 1, 1, 1]


def test_what_is_no_average() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        square = x[:, :, :7]
        counts = sums(jnp.ones((1, 7, 7, 1)), *SAME)
        return [
            sums(x, *SAME) / 5,
            sums(x, *SAME),
            sums(square, *SAME) / counts.transpose(0, 2, 1, 3),
            lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 2, 1)) / 4,
        ]

    function_x = np.concatenate([X, X[:, :, :1]], 2)[:, :, :8]
    assert "AveragePool" not in op_types(run_and_compare(function, function_x, rtol=2e-6))


def test_sums_keep_infinities_where_they_are() -> None:
    x = X.copy()
    x[0, 0, 0, 0], x[0, 5, 5, 1], x[1, 3, 3, 2] = np.inf, -np.inf, np.nan
    run_and_compare(lambda x: [sums(x, *SAME), sums(x, *SAME) / 6], x, rtol=2e-6)
