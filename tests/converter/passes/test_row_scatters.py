"""Rows of a graph's edges, scattered to its nodes: the same as in JAX, also by several threads."""

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
NODES, EDGES = 300, 1200
WAYS = ("add", "max", "min", "multiply", "set")
SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38], np.float32)


def edges(kind: str) -> np.ndarray:
    """Ends of edges; some, and all of some nodes, are outside."""
    ends = rng.integers(-20, NODES + 20, EDGES).astype(np.int32)
    ends[:5] = [2**31 - 1, -(2**31), -NODES, NODES, -1]
    if kind == "star":
        ends[rng.random(EDGES) < 0.7] = 7
    return np.sort(ends) if kind == "sorted" else ends


def features(*shape: int) -> np.ndarray:
    """Numbers of all sizes, and now and then a special one."""
    numbers = rng.standard_normal(shape).astype(np.float32) * 10.0 ** rng.integers(-3, 4, shape)
    return np.where(rng.random(shape) < 0.02, rng.choice(SPECIAL, shape), numbers).astype(np.float32)


def each_way(x: jax.Array, update: jax.Array, ends: jax.Array) -> list[jax.Array]:
    """Wide rows, rows of several axes, and integers."""
    wide = [getattr(x.at[ends], way)(update, mode="drop") for way in WAYS]
    whole = jnp.nan_to_num(update[:, :24] * 100, posinf=9, neginf=-9).astype(int).reshape(-1, 3, 8)
    integers = jnp.zeros((NODES, 3, 8), int).at[ends].add(whole, mode="drop")
    return [*wide, integers, jax.ops.segment_max(update[:, :4], ends, NODES)]


def same(model: oir.Model, function: Callable[..., list[jax.Array]], *given: np.ndarray) -> None:
    """Bit for bit, but for the bits of NaN and numbers that XLA takes for 0.

    With the runtime's optimisations and without, and in threads.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    session = onnxruntime.InferenceSession(oir.to_proto(model).SerializeToString(), options)
    names = [i.name for i in session.get_inputs()]
    runs = [run(model, *given), run(model, *given, optimized=True)]
    runs += [session.run(None, dict(zip(names, given, strict=True))) for _ in range(3)]
    for wanted, *found in zip(jax.jit(function)(*given), *runs, strict=True):
        for result in found:
            np.testing.assert_allclose(result, wanted, rtol=0, atol=np.finfo(np.float32).tiny)
            np.testing.assert_array_equal(np.signbit(result) | np.isnan(result), np.signbit(wanted) | np.isnan(wanted))


def test_computed_ends_in_rounds() -> None:
    """With most edges at one node, and in order."""
    x, update = features(NODES, 320), features(EDGES, 320)
    model = lower(each_way, x, update, edges("random"), symbolic=None)
    found = op_types(model)
    assert found["TopK"] == 1  # for all scatters
    assert found["ScatterND"] == 9 * (len(WAYS) + 3)  # integers, NaN in maxima and minima
    for kind in ("random", "star", "sorted"):
        same(model, each_way, x, update, edges(kind))


@pytest.mark.parametrize("kind", ["random", "star"])
def test_known_ends_in_rounds(kind: str) -> None:
    x, update, ends = features(NODES, 64), features(EDGES, 64), edges(kind)

    def function(x: jax.Array, update: jax.Array) -> list[jax.Array]:
        return each_way(x, update, jnp.asarray(ends))

    model = lower(function, x, update, symbolic=None)
    assert not {"TopK", "NonZero"} & op_types(model).keys()
    assert op_types(model)["ScatterND"] > 10
    same(model, function, x, update)


@pytest.mark.parametrize("nodes", ["few", "many"])
def test_other_shapes_as_single_elements(nodes: str) -> None:
    """Where rounds would be too many, or few rows are not worth them."""
    rows, targets = (3000, 3) if nodes == "few" else (8, 2000)

    def function(x: jax.Array, update: jax.Array, ends: jax.Array) -> list[jax.Array]:
        return [x.at[ends].add(update), jax.ops.segment_max(update, ends, targets)]

    given = features(targets, 32), features(rows, 32), rng.integers(0, targets, rows).astype(np.int32)
    model = lower(function, *given, symbolic=None)
    assert "ScatterND" not in op_types(model)
    same(model, function, *given)


def test_steps_of_a_loop_share_the_order_of_edges() -> None:
    def function(x: jax.Array, ends: jax.Array) -> list[jax.Array]:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.ops.segment_sum(x[ends[::-1]] * 0.5, ends, NODES), None

        return [jax.lax.scan(step, x, None, length=3)[0]]

    given = features(NODES, 1024), edges("random") % NODES
    model = lower(function, *given, symbolic=None)
    assert {"Loop", "TopK"} <= op_types(model).keys()
    same(model, function, *given)


@pytest.mark.parametrize("nodes", [NODES, 3])
def test_messages_are_computed_in_rounds(nodes: int) -> None:
    """Weighted and added rows of other nodes; where a target has too many edges, at once."""

    def function(
        x: jax.Array, weight: jax.Array, edge: jax.Array, senders: jax.Array, ends: jax.Array
    ) -> list[jax.Array]:
        rows = x[senders]
        weighted = jax.ops.segment_sum(weight[:, :, None] * rows.reshape(EDGES, 4, -1), ends, nodes)
        scaled = jax.ops.segment_max(weight[:, :1] * x[senders] - edge, ends, nodes)
        start = jnp.full((nodes, 4, 32), -0.0).at[ends].add(weight[:, :, None] * edge.reshape(EDGES, 4, -1))
        return [weighted, scaled, start, jax.ops.segment_sum(x[ends] + edge, ends, nodes)]

    given = features(nodes, 128), features(EDGES, 4), features(EDGES, 128), edges("random"), edges("random") % nodes
    given[1][:50], given[2][50:100] = -0.0, -0.0
    model = lower(function, *given, symbolic=None)
    assert op_types(model).get("ScatterND", 0) == (0 if nodes == 3 else 9 * 5)
    assert op_types(model)["MatMul"] == (1 if nodes == 3 else 10)  # with ones; the sums that start at -0 have none
    same(model, function, *given)


def test_several_graphs_of_the_same_edges() -> None:
    def function(x: jax.Array, update: jax.Array, ends: jax.Array) -> list[jax.Array]:
        added = jax.vmap(lambda x, u: x.at[ends].add(u, mode="drop"))(x, update)
        return [added, x.at[:, ends].max(update, mode="drop"), x[..., 0].at[:, ends].min(update[..., 0], mode="drop")]

    given = features(3, NODES, 24), features(3, EDGES, 24), edges("random")
    model = lower(function, *given, symbolic=None)
    assert all(node.attributes["axis"].as_int() == 0 for node in model.graph if node.op_type == "ScatterElements")
    same(model, function, *given)
