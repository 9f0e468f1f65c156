"""Columns are gathered as rows where that is faster, bit for bit."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

PLACES = np.random.default_rng(0).integers(0, 9, 700)
X = np.random.default_rng(1).standard_normal((2, 16, 9), np.float32)
X[0, 0, :3] = np.nan, np.inf, -0.0


def test_columns_are_gathered_as_rows() -> None:
    assert op_types(run_and_compare(lambda x: x[..., PLACES], X, rtol=0)) == {"Transpose": 2, "Gather": 1}
    short = X.astype(np.float16)
    assert op_types(run_and_compare(lambda x: x[..., PLACES], short, rtol=0))["Transpose"] == 2


def test_few_elements_short_columns_and_other_axes_stay() -> None:
    def others(x: jax.Array) -> tuple[jax.Array, ...]:
        return x[..., PLACES[:20]], x[:, :15][..., PLACES], x[:, PLACES]

    counts = op_types(run_and_compare(others, X, rtol=0))
    assert counts["Gather"] == 3
    assert "Transpose" not in counts
