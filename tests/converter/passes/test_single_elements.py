"""Short rows gathered as single elements: indices of both signs and outside, every width."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)
ROWS = 1100


def test_many_short_rows() -> None:
    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        taken = [x[i, 0, 0], x[:, 0, :1][i], x[:, 1][i], x[:, :, :2][i], x[i]]
        return [*taken, x[:, 0].astype(jnp.int8)[i], x.at[i].get(mode="fill"), x[:, 0, 0].at[i].get(mode="clip")]

    x, i = rng.standard_normal((6, 3, 4)).astype(np.float32), rng.integers(-9, 9, ROWS).astype(np.int32)
    x[2] = np.nan
    x[3] = np.inf
    model = run_and_compare(function, x, i, rtol=0, symbolic=None)
    assert op_types(model)["GatherElements"] == 5  # two are equal
    assert op_types(model)["Gather"] == 1  # of 12 elements


def test_few_or_unknown_rows_stay() -> None:
    x = rng.standard_normal((5, 4)).astype(np.float32)
    for i, symbolic in ((np.arange(5, dtype=np.int32), None), (np.arange(ROWS, dtype=np.int32) % 5, "b")):
        model = run_and_compare(lambda i: jnp.asarray(x)[i], i, rtol=0, symbolic=symbolic)
        assert "GatherElements" not in op_types(model)
