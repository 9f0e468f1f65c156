"""Sums and extremes of a graph's edges by their nodes, in tables of edges: the same as in JAX, also in threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run

rng = np.random.default_rng(0)
NODES, EDGES, HEADS, WIDTH = 300, 1500, 4, 96
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38], np.float32)
KINDS = ("random", "star", "sorted", "one", "outside")
Net = Callable[..., list[jax.Array]]


def edges(kind: str) -> np.ndarray:
    """Ends of edges, in several orders; some, and all of some nodes, are outside."""
    ends = rng.integers(-NODES - 20, NODES + 20, EDGES).astype(np.int32)
    ends[:5] = [2**31 - 1, -(2**31), -NODES, NODES, -1]
    if kind == "star":
        ends[rng.random(EDGES) < 0.7] = 7
    if kind == "one":
        ends[:] = NODES - 1
    if kind == "outside":
        ends[ends >= 0] += NODES
    return np.sort(ends) if kind == "sorted" else ends


def features(*shape: int, special: float = 0.02) -> np.ndarray:
    """Numbers, and now and then a special one."""
    numbers = rng.standard_normal(shape).astype(np.float32)
    return np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), numbers).astype(np.float32)


def same(model: oir.Model, function: Net, *given: np.ndarray, digits: float = 0) -> None:
    """With the runtime's optimisations and without, and in threads; without ``digits`` bit for bit but for NaN's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    session = onnxruntime.InferenceSession(oir.to_proto(model).SerializeToString(), options)
    names = [i.name for i in session.get_inputs()]
    runs = [run(model, *given), run(model, *given, optimized=True)]
    runs += [session.run(None, dict(zip(names, given, strict=True))) for _ in range(2)]
    for wanted, *found in zip(jax.jit(function)(*given), *runs, strict=True):
        for result in found:
            np.testing.assert_allclose(result, wanted, rtol=digits, atol=digits)
            if not digits:
                signs = np.signbit(result) | np.isnan(result), np.signbit(wanted) | np.isnan(wanted)
                np.testing.assert_array_equal(*signs)


def in_slots(model: oir.Model) -> bool:
    """Whether edges are sorted by counting, for their tables."""
    return "Compress" in op_types(model)


def sums(x: jax.Array, senders: jax.Array, receivers: jax.Array, weights: jax.Array) -> list[jax.Array]:
    """Of rows as they are, of weighted ones, and of both ends' differences; integers; few numbers."""
    heads = x.reshape(NODES, HEADS, -1)
    whole = jnp.nan_to_num(x[:, :3] * 100, posinf=9, neginf=-9).astype(int)
    return [
        jax.ops.segment_sum(x[senders], receivers, NODES),
        jax.ops.segment_sum(weights[:, 0, None] * x[senders], receivers, NODES),
        jax.ops.segment_sum(heads[senders] * weights[..., None], receivers, NODES),
        jax.ops.segment_sum(whole[senders] - whole[receivers], receivers, NODES),
        jax.ops.segment_sum(jnp.abs(weights), receivers, NODES),
        jax.ops.segment_sum(jnp.minimum(weights * np.arange(HEADS), 2) * weights[:, :1], receivers, NODES),
        jax.ops.segment_sum(x[senders, 0] - x[receivers, 1], receivers, NODES),
    ]


def test_sums_bit_for_bit() -> None:
    x, senders, weights = features(NODES, WIDTH), edges("random"), features(EDGES, HEADS)
    model = lower(sums, x, senders, edges("random"), weights, symbolic=None)
    assert in_slots(model)
    for kind in KINDS:
        same(model, sums, x, senders, edges(kind), weights)


def extremes(x: jax.Array, senders: jax.Array, receivers: jax.Array) -> list[jax.Array]:
    def softmax(scores: jax.Array) -> jax.Array:
        shares = jnp.exp(scores - jax.ops.segment_max(scores, receivers, NODES)[receivers])
        return shares / jax.ops.segment_sum(shares, receivers, NODES)[receivers]

    own = jax.nn.leaky_relu(x[:, :HEADS][senders] + x[:, HEADS : 2 * HEADS][receivers])
    message = softmax(own)[..., None] * x[:, :WIDTH].reshape(NODES, HEADS, -1)[senders]
    whole = jnp.nan_to_num(x[:, :3] * 100, posinf=9, neginf=-9).astype(int)
    return [
        jax.ops.segment_sum(message, receivers, NODES),
        jax.ops.segment_sum(softmax(x[senders, 0])[:, None] * x[senders], receivers, NODES),
        jax.ops.segment_max(whole[senders], receivers, NODES),
        jax.ops.segment_min(whole[senders] * whole[receivers], receivers, NODES),
        jnp.full((NODES, 3), 5).at[receivers].max(whole[senders]),
        jax.ops.segment_min(x[:, :2][senders], receivers, NODES),
        jnp.full((NODES, 2), jnp.inf).at[receivers].max(jnp.abs(x[:, :2][senders])),
        jnp.full((NODES, 2), -1.5).at[receivers].max(jnp.abs(x[:, :2][senders]) - 2),
    ]


def test_attention_and_extremes() -> None:
    x, senders = features(NODES, 2 * WIDTH, special=0.002), edges("random")
    model = lower(extremes, x, senders, edges("random"), symbolic=None)
    assert in_slots(model)
    for kind in KINDS:
        same(model, extremes, x, senders, edges(kind), digits=1e-5)


def test_results_and_messages_with_other_uses() -> None:
    """Values of edges that something else reads, and a node's value computed from its own sums, layer by layer."""

    def function(x: jax.Array, senders: jax.Array, receivers: jax.Array) -> list[jax.Array]:
        weights = x[senders, 0] * 0.5
        for _ in range(2):
            x = jax.ops.segment_sum(weights[:, None] * x[senders], receivers, NODES) + 1
        return [x, weights, weights.sum(keepdims=True)]

    x, senders = features(NODES, 160, special=0), edges("random") % NODES
    model = lower(function, x, senders, edges("random"), symbolic=None)
    assert in_slots(model)
    for kind in ("random", "star"):
        same(model, function, x, senders, edges(kind), digits=1e-5)


@pytest.mark.parametrize("kind", ["wide", "divided", "few"])
def test_others_stay_scatters(kind: str) -> None:
    """Wide values of edges that are given, integers divided by what may be 0 for no edge, and few edges."""

    def function(x: jax.Array, receivers: jax.Array, update: jax.Array) -> list[jax.Array]:
        if kind == "divided":
            whole = jnp.nan_to_num(x).astype(int)
            counts = jax.ops.segment_sum(jnp.ones(len(receivers), int), receivers, NODES)
            share = (whole[:, :2][receivers] * 7) // counts[receivers][:, None]
            return [jax.ops.segment_sum(jnp.tile(share, (1, 2)), receivers, NODES)]
        return [jax.ops.segment_sum(update, receivers, NODES)]

    count = 20 if kind == "few" else EDGES
    given = features(NODES, WIDTH), edges("random")[:count] % NODES, features(count, 320)
    model = lower(function, *given, symbolic=None)
    assert not in_slots(model)
    same(model, function, *given)
