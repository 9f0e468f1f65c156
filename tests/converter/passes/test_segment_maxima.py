"""Maxima of segments that only shift exponentials need no nodes for NaN; others keep them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)
NODES, EDGES = 12, 60
Segments = Callable[[jax.Array, jax.Array], jax.Array]


def largest(scores: jax.Array, ends: jax.Array) -> jax.Array:
    return jax.ops.segment_max(scores, ends, NODES)


def total(shares: jax.Array, ends: jax.Array) -> jax.Array:
    return jax.ops.segment_sum(shares, ends, NODES)


def plain(scores: jax.Array, ends: jax.Array) -> jax.Array:
    shares = jnp.exp(scores - largest(scores, ends)[ends])
    return shares / total(shares, ends)[ends]


def with_epsilon(scores: jax.Array, ends: jax.Array) -> jax.Array:
    shares = jnp.exp(scores - largest(scores, ends)[ends])
    return shares / (total(shares, ends) + 1e-9)[ends]


def of_finite(scores: jax.Array, ends: jax.Array) -> jax.Array:
    top = largest(scores, ends)
    shares = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0)[ends])
    return shares * (1 / (total(shares, ends)[ends] + 1e-9))


def result(scores: jax.Array, ends: jax.Array) -> tuple[jax.Array, jax.Array]:
    return largest(scores, ends), plain(scores, ends)


def of_other_ends(scores: jax.Array, ends: jax.Array) -> jax.Array:
    shares = jnp.exp(scores - largest(scores, ends)[ends[::-1]])
    return shares / total(shares, ends)[ends[::-1]]


def of_other_sums(scores: jax.Array, ends: jax.Array) -> jax.Array:
    shares = jnp.exp(scores - largest(scores, ends)[ends])
    return shares / total(shares, ends[::-1])[ends]


def undivided(scores: jax.Array, ends: jax.Array) -> tuple[jax.Array, jax.Array]:
    shares = jnp.exp(scores - largest(scores, ends)[ends])
    return shares, total(shares, ends)


def clipped(scores: jax.Array, ends: jax.Array) -> jax.Array:
    """An end outside counts for the last segment, but reads another one."""
    top = jnp.full((NODES, *scores.shape[1:]), -jnp.inf).at[ends].max(scores, mode="clip")
    shares = jnp.exp(scores - top[ends])
    return shares / jnp.zeros_like(top).at[ends].add(shares, mode="clip")[ends]


def from_data(scores: jax.Array, ends: jax.Array) -> jax.Array:
    """Maxima of a NaN that no sum has."""
    top = scores[:NODES].at[ends].max(scores, mode="drop")
    shares = jnp.exp(scores - top[ends])
    return shares / total(shares, ends)[ends]


def scores(*shape: int) -> np.ndarray:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), rng.standard_normal(shape)).astype(np.float32)


def ends() -> np.ndarray:
    """Some segments are empty, some indices outside."""
    return np.where(rng.random(EDGES) < 0.2, rng.integers(-40, 40, EDGES), rng.integers(2, NODES - 1, EDGES)).astype(
        np.int32
    )


@pytest.mark.parametrize("function", [plain, with_epsilon, of_finite])
@pytest.mark.parametrize("shape", [(EDGES,), (EDGES, 4)], ids=["one head", "heads"])
def test_a_softmax_over_each_segment(function: Segments, shape: tuple[int, ...]) -> None:
    model = run_and_compare(function, scores(*shape), ends(), symbolic=None)
    assert op_types(model)["ScatterElements"] == 2


@pytest.mark.parametrize("function", [result, of_other_ends, of_other_sums, undivided, clipped, from_data])
def test_other_uses_keep_nan(function: Segments) -> None:
    model = run_and_compare(function, scores(EDGES, 4), ends(), symbolic=None)
    assert op_types(model)["ScatterElements"] == 3
