"""Gather against JAX: along every axis, general dimension numbers, every type, indices outside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare
from edges import FLOATS, INTEGERS, compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 6), np.float32)
PLACES = np.array([2, 0, 2, 1])
TABLE = np.array([[2, 0], [1, 1], [0, 2]])
#: Below, in and above every axis.
OUTSIDE = np.array([-9, -1, 0, 2, 3, 7], np.int32)

FUNCTIONS = {
    "first axis": lambda x: x[PLACES],
    "an inner axis": lambda x: x[:, PLACES],
    "last axis": lambda x: x[..., PLACES],
    "from behind": lambda x: x[:, -PLACES - 1],
    "one place": lambda x: x[:, np.array([3])],
    "truths": lambda x: (x > 0)[:, PLACES],
    "integers": lambda x: jnp.round(x * 10).astype(bool).astype(jnp.int32)[..., PLACES],
    "a table": lambda x: x[:, TABLE],
    "a table, last axis": lambda x: x[..., TABLE],
    "axis between others of many": lambda x: x.reshape(3, 2, 2, 3, 2)[:, :, :, PLACES],
    "twice": lambda x: x[:, PLACES][:, :, PLACES],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpys_indexing(name: str) -> None:
    model = run_and_compare(FUNCTIONS[name], X, rtol=0, symbolic=None)
    assert op_types(model)["Gather"] == (2 if name == "twice" else 1)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("places", [PLACES, TABLE, np.array(1)], ids=["list", "table", "number"])
def test_take_along_each_axis(axis: int, places: np.ndarray) -> None:
    run_and_compare(lambda x: jnp.take(x, places, axis=axis, mode="clip"), X, rtol=0, symbolic=None)


@pytest.mark.parametrize("mode", ["clip", "promise_in_bounds"])
@pytest.mark.parametrize("places", [PLACES, TABLE], ids=["list", "table"])
def test_get_in_each_mode(places: np.ndarray, mode: str) -> None:
    for function in (
        lambda x: x.at[places].get(mode=mode),
        lambda x: x.at[:, places].get(mode=mode),
        lambda x: x.at[..., places].get(mode=mode),
    ):
        run_and_compare(function, X, rtol=0, symbolic=None)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_constant_indices_out_of_range_are_clamped(axis: int) -> None:
    model = run_and_compare(lambda x: jnp.take(x, OUTSIDE, axis=axis, mode="clip"), X, rtol=0, symbolic=None)
    assert op_types(model) == {"Gather": 1}
    (indices,) = [v.const_value.numpy() for v in model.graph.initializers.values()]
    np.testing.assert_array_equal(indices, np.clip(OUTSIDE, 0, X.shape[axis] - 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("indices", [OUTSIDE, OUTSIDE.reshape(2, 3)], ids=["list", "table"])
def test_computed_indices_are_clamped(axis: int, indices: np.ndarray) -> None:
    model = run_and_compare(
        lambda x, i: jnp.take(x, i * 2 - 1, axis=axis, mode="clip"), X, indices, rtol=0, symbolic=None
    )
    counts = op_types(model)
    assert counts["Gather"] == 1
    assert counts["Clip"] == 1


def test_an_unknown_number_of_places() -> None:
    table = rng.standard_normal((5, 4), np.float32)
    indices = np.array([0, 4, 2], np.int32)
    run_and_compare(lambda i: jnp.take(table, i, axis=0, mode="clip"), indices, rtol=0)
    run_and_compare(lambda i: jnp.take(table, i[:, None] + i[:, None], axis=1, mode="clip"), indices, rtol=0)


def along(
    x: jax.Array, order: np.ndarray, axis: int, *, slices: Sequence[int], indices_first: bool = True, **options: object
) -> jax.Array:
    """``take(x, order, axis)`` with the first axis as a batching dimension, and slices of the axes named."""
    batch, length = x.shape[0], len(order)
    place = (None, slice(None)) if indices_first else (slice(None), None)
    shape = (batch, length, 1) if indices_first else (length, batch, 1)
    indices = jnp.broadcast_to(jnp.asarray(order)[(*place, None)], shape)
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(slices),
        collapsed_slice_dims=(axis,),
        start_index_map=(axis,),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0 if indices_first else 1,),
    )
    sizes = tuple(1 if a in (0, axis) else n for a, n in enumerate(x.shape))
    return lax.gather(x, indices, numbers, sizes, **options)


ORDER = np.array([3, 1, 0, 2, 1], np.int32)
BATCHED: dict[str, Callable[[jax.Array], jax.Array]] = {
    "inner axis": lambda x: along(x, ORDER, 1, slices=(2,)),
    "inner axis, slices before places": lambda x: along(x, ORDER, 1, slices=(1,)),
    "slices before the batch": lambda x: along(x, ORDER, 1, slices=(0,)),
    "last axis": lambda x: along(x, ORDER, 2, slices=(2,)),
    "last axis, slices between": lambda x: along(x, ORDER, 2, slices=(1,)),
    "batch behind the places": lambda x: along(x, ORDER, 1, slices=(2,), indices_first=False),
    "two axes of slices": lambda x: along(x.reshape(x.shape[0], 4, 2, 3), ORDER, 1, slices=(2, 3)),
    "slices around": lambda x: along(x.reshape(x.shape[0], 2, 4, 3), ORDER, 2, slices=(1, 3)),
    "promised": lambda x: along(
        x, ORDER, 1, slices=(2,), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS, unique_indices=False
    ),
    "a permutation and back": lambda x: along(
        along(x, ORDER[:4], 1, slices=(2,)) * 2, np.argsort(ORDER[:4]).astype(np.int32), 1, slices=(2,)
    ),
}


@pytest.mark.parametrize("symbolic", ["b", None], ids=["unknown batch", "known batch"])
@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_that_is_a_batching_dimension(name: str, symbolic: str | None) -> None:
    model = run_and_compare(BATCHED[name], X, rtol=0, symbolic=symbolic)
    assert op_types(model)["Gather"] == (2 if "back" in name else 1)
    # The same order for every clip is stored once, not once a clip.
    stored = [v.const_value.numpy() for v in model.graph.initializers.values()]
    assert all(array.size <= 6 for array in stored)


def test_a_batched_order_out_of_range_is_clamped() -> None:
    model = run_and_compare(lambda x: along(x, OUTSIDE, 1, slices=(2,), mode=lax.GatherScatterMode.CLIP), X, rtol=0)
    assert op_types(model)["Gather"] == 1


Mode = lax.GatherScatterMode


def numbered(
    operand: Sequence[int],
    indices: Sequence[int],
    sizes: Sequence[int],
    offset: Sequence[int],
    collapsed: Sequence[int],
    index_map: Sequence[int],
    batching: Sequence[int] = (),
    indices_batching: Sequence[int] = (),
) -> tuple[Sequence[Sequence[int]], lax.GatherDimensionNumbers]:
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(offset),
        collapsed_slice_dims=tuple(collapsed),
        start_index_map=tuple(index_map),
        operand_batching_dims=tuple(batching),
        start_indices_batching_dims=tuple(indices_batching),
    )
    return (operand, indices, sizes), numbers


NUMBERS = {
    "two axes": numbered((5, 3, 4), (7, 2), (1, 1, 4), (1,), (0, 1), (0, 1)),
    "two axes apart, in another order": numbered((5, 3, 6), (7, 2), (1, 3, 1), (1,), (0, 2), (2, 0)),
    "all axes": numbered((5, 3, 4), (7, 3), (1, 1, 1), (), (0, 1, 2), (0, 1, 2)),
    "parts of slices": numbered((5, 6), (7, 1), (1, 4), (1,), (0,), (0,)),
    "an axis collapsed without index": numbered((5, 3, 6), (7, 1), (1, 1, 6), (1,), (0, 1), (0,)),
    "several elements at a place": numbered((7, 3), (5, 1), (3, 3), (1, 2), (), (0,)),
    "windows of two axes": numbered((5, 6, 2), (7, 2), (2, 3, 2), (0, 2, 3), (), (1, 0)),
    "axes of one element kept": numbered((5, 3), (7, 2), (1, 1), (1, 2), (), (0, 1)),
    "places of two dimensions": numbered((5, 4), (3, 2, 1), (1, 4), (1,), (0,), (0,)),
    "batching": numbered((3, 5, 2), (3, 4, 1), (1, 1, 2), (2,), (1,), (1,), (0,), (0,)),
    "batching, windows": numbered((3, 5, 2), (3, 4, 1), (1, 2, 2), (2, 3), (), (1,), (0,), (0,)),
    "batching behind": numbered((5, 2, 3), (4, 3, 1), (1, 2, 1), (1,), (0,), (0,), (2,), (1,)),
    "two batching axes": numbered((2, 3, 5), (3, 4, 2, 1), (1, 1, 1), (), (2,), (2,), (0, 1), (2, 0)),
    "a place a batch": numbered((2, 5, 3), (3, 2, 1), (1, 1, 1), (), (1,), (1,), (0, 2), (1, 0)),
    "batching without index": numbered((3, 5), (3, 2, 0), (1, 4), (1,), (), (), (0,), (0,)),
    "whole axes": numbered((5, 3), (7, 2), (5, 3), (0, 1), (), (0, 1)),
    "one index": numbered((5, 3), (1,), (1, 3), (0,), (0,), (0,)),
    "one window": numbered((5, 3, 2), (2,), (2, 1, 2), (0, 1), (1,), (1, 0)),
    "no place": numbered((5, 3), (0, 1), (1, 3), (1,), (0,), (0,)),
    "empty slices": numbered((5, 3), (4, 1), (1, 0), (1,), (0,), (0,)),
    "slices of an empty axis": numbered((0, 3), (4, 1), (0, 3), (1, 2), (), (0,)),
    "rank 0": numbered((), (4, 0), (), (), (), ()),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_dimension_numbers(name: str) -> None:
    (operand, indices, sizes), numbers = NUMBERS[name]

    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        modes = (Mode.CLIP, Mode.FILL_OR_DROP, Mode.PROMISE_IN_BOUNDS)
        return [lax.gather(x, i, numbers, tuple(sizes), mode=mode) for mode in modes]

    x, i = rng.standard_normal(operand).astype(np.float32), rng.integers(-3, 9, indices).astype(np.int32)
    compare(function, x, i)
    compare(lambda x: function(x, jnp.asarray(i)), x)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type(dtype: str) -> None:
    x = rng.integers(0, 9, (5, 3, 4)).astype("float32" if dtype == "bfloat16" else dtype)
    i = np.array([3, -2, 9, 0], np.int32)
    compare(lambda x, i: (x[i], x[i, :, i], jnp.take_along_axis(x, i[None, :, None], 1)), x, i, dtype=dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_indices_of_every_type(dtype: str) -> None:
    ends = np.iinfo(dtype)
    # Indices of jax's clip mode are clamped before, and promised ones where they are promised falsely by the gather.
    i = np.array([0, 2, 5, 6, ends.max // 4, ends.min, ends.max // (2 if dtype == "uint64" else 1)], dtype)
    rows, elements = lax.GatherDimensionNumbers((1,), (0,), (0,)), lax.GatherDimensionNumbers((), (0, 1), (1, 0))

    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        return [
            lax.gather(x, indices, numbers, sizes, mode=mode)
            for indices, numbers, sizes in ((i[:, None], rows, (1, 3)), (jnp.stack([i, i[::-1]], 1), elements, (1, 1)))
            for mode in (Mode.CLIP, Mode.PROMISE_IN_BOUNDS)
        ]

    compare(function, X[0].T.copy(), i)


def test_take_along_an_axis_is_one_node_where_indices_differ() -> None:
    order = np.argsort(X, axis=1).astype(np.int32)
    options = {"mode": "promise_in_bounds"}
    model = run_and_compare(lambda x, i: jnp.take_along_axis(x, i, 1, **options), X, order, rtol=0, symbolic=None)
    assert op_types(model)["GatherElements"] == 1
    assert "Gather" not in op_types(model)
    run_and_compare(lambda x, i: jnp.take_along_axis(x, i, 2), X, order, rtol=0)
    run_and_compare(lambda x, i: jnp.take_along_axis(x, i[:, :1, :1], 1, mode="clip"), X, order - 1, rtol=0)


@pytest.mark.parametrize("symbolic", ["b", None])
def test_an_element_of_each_row_is_taken_along_the_axis(symbolic: str | None) -> None:
    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        row, table = jnp.arange(x.shape[0]), x[..., 0]
        return [table[row, i[:, 0]], table.T[i[:, 0], row], table[row[:, None], i], x[row, i[:, 0]], table[row, row]]

    counts = op_types(run_and_compare(function, X, INDICES, rtol=0, symbolic=symbolic))
    assert counts["GatherElements"] == 4


INDICES = np.array([[-9, 0, 2], [3, 7, -1], [1, -4, 3]], np.int32)
UNKNOWN: dict[str, Callable[..., object]] = {
    "inner axis": lambda x, i: jnp.take(x, PLACES, axis=1, mode="clip"),
    "the batch itself": lambda x, i: (jnp.take(x, PLACES, axis=0, mode="clip"), x[i, 1], x[i]),
    "modes": lambda x, i: [jnp.take(x, i, axis=2, mode=mode) for mode in ("fill", "clip", "wrap")],
    "first and last": lambda x, i: (x[0], x[-1], x[:, -1], x[:1, 1:3]),
    "an element each": lambda x, i: x[jnp.arange(x.shape[0]), i[:, 0], i[:, 1]],
    "elements of each": lambda x, i: x[jnp.arange(x.shape[0])[:, None], i],
    "index_take": lambda x, i: lax.index_take(x, (i[:, 0],), (1,)),
    "vmap": lambda x, i: jax.vmap(lambda x, i: x[i], in_axes=(0, 0))(x, i),
    "vmap of windows": lambda x, i: jax.vmap(lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (2, 3)))(x, i),
    "embedding": lambda x, i: jnp.asarray(X[0])[i] * x[:, :3, :],
    "every other": lambda x, i: x[:, ::2, ::-1],
    "by truths": lambda x, i: x[:, np.array([True, False, True, True])],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_batch(name: str) -> None:
    run_and_compare(UNKNOWN[name], X, INDICES, rtol=0)


def test_an_empty_batch_gives_empty_results() -> None:
    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        by_place = jax.vmap(lambda x, i: (x[i], x[i, i], x.at[i].add(1.0), x.at[i, i].max(1.0)))(x, i)
        return [*by_place, x[::-1, ::-1], x[:, PLACES], x.at[i[:, 0]].set(2.0), jnp.sort(x, 1), lax.top_k(x, 2)[0]]

    model = run_and_compare(function, X, INDICES, rtol=0)
    found = run(model, X[:0], INDICES[:0])
    expected = jax.eval_shape(function, X, INDICES)
    assert [f.shape for f in found] == [(0, *e.shape[1:]) for e in expected]
