"""Lookups in tables need one bound of the index and one Gather, and mark indices outside if JAX does."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

TABLE = np.random.default_rng(0).standard_normal((5, 4), np.float32)
#: Below, in and above the table, counted from either end; the limits of the type.
PLACES = np.array([[-7, -6, -5, -1], [0, 4, 5, 9], [-(2**31), 2**31 - 1, 2, 3]], np.int32)


def test_clamped_and_filled_lookups() -> None:
    def function(i: jax.Array) -> list[jax.Array]:
        table = jnp.asarray(TABLE)
        return [table[i], jnp.take(table, i, axis=0), jnp.take(table.T, i, axis=1)]

    counts = op_types(run_and_compare(function, PLACES, rtol=0))
    assert counts["Clip"] == 1
    assert counts["Gather"] == 2
    assert "Less" not in counts
    assert set(counts) <= {"Clip", "Gather", "Equal", "Unsqueeze", "Reshape", "Where", "Transpose", "Identity"}


def test_lookups_of_a_known_number() -> None:
    """StableHLO of a known batch holds bounds of as many equal numbers as there are indices."""
    places = PLACES[:, 0]
    model = run_and_compare(lambda i: jnp.asarray(TABLE)[i], places, symbolic=None, rtol=0)
    assert op_types(model) == {"Clip": 1, "Gather": 1}


def test_elements_along_an_axis() -> None:
    """Labels of unknown range, as cross entropy takes them; and rows by a number alone."""

    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        filled = jnp.take_along_axis(x, i, axis=1)
        clipped = jnp.take_along_axis(x, i, axis=1, mode="clip")
        return [filled, clipped, x[jnp.arange(len(i)), i[:, 0]], jnp.asarray(TABLE)[i[0, 0]]]

    counts = op_types(run_and_compare(function, TABLE[:3], PLACES, symbolic=None, rtol=0))
    assert counts["GatherElements"] == 2
    assert counts["Gather"] == 1
    assert not {"Less", "Add", "Max", "Min"} & set(counts)


def test_other_bounds_stay() -> None:
    """Indices that are results, and into four of five rows."""

    def function(i: jax.Array) -> list[jax.Array]:
        wrapped = jnp.where(i < 0, i + 4, i)
        inside = jnp.minimum(jnp.maximum(wrapped, 0), 3)
        return [jnp.asarray(TABLE).at[inside].get(mode="promise_in_bounds"), inside, (wrapped >= 0) & (wrapped <= 3)]

    counts = op_types(run_and_compare(function, PLACES, rtol=0))
    assert counts["Clip"] == 2
    assert counts["Max"] == counts["Min"] == 1
