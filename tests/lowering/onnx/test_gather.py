"""Gather against JAX: along every axis, for every kind of index that has an equivalent; the others are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run_and_compare

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
    assert {"Max", "Min"} <= counts.keys()


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


def orders_that_differ(x: jax.Array) -> jax.Array:
    indices = jnp.asarray(np.arange(6, dtype=np.int32).reshape(3, 2, 1) % 4)
    numbers = lax.GatherDimensionNumbers((2,), (1,), (1,), (0,), (0,))
    return lax.gather(x, indices, numbers, (1, 1, 6), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


def slices_of_parts(x: jax.Array) -> jax.Array:
    numbers = lax.GatherDimensionNumbers((1, 2), (0,), (0,))
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return lax.gather(x, jnp.asarray(PLACES, jnp.int32)[:, None], numbers, (1, 4, 5), mode=mode)


def places_of_several(x: jax.Array) -> jax.Array:
    numbers = lax.GatherDimensionNumbers((1, 2, 3), (), (0,))
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return lax.gather(x, jnp.array([[0], [1]], jnp.int32), numbers, (2, 4, 6), mode=mode)


REFUSED = {
    "two axes at once": (lambda x: x[PLACES, PLACES], r"indices into axes \[0, 1\]"),
    "indices that differ along the batch": (orders_that_differ, "indices that differ along a batching dimension"),
    "parts of slices": (slices_of_parts, r"slices of \[1, 4, 5\] out of \(3, 4, 6\)"),
    "several places at once": (places_of_several, r"indices into axes \[0\]: the op's rule takes whole slices"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_gathers_are_one_clear_error(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(LoweringError, match=f"stablehlo.gather at .*{message}") as caught:
        lower(function, X, symbolic=None)
    assert "\n" not in str(caught.value)


def test_slices_of_unknown_size_are_one_clear_error() -> None:
    with pytest.raises(LoweringError, match=r"stablehlo.dynamic_gather at .*no rule") as caught:
        lower(lambda x: jnp.take(x, PLACES, axis=1, mode="clip"), X)
    assert "\n" not in str(caught.value)


def test_an_axis_of_unknown_length_is_one_clear_error() -> None:
    with pytest.raises(LoweringError, match=r"stablehlo.gather at .*slices of .*whole slices along one axis") as caught:
        lower(lambda x: jnp.take(x, PLACES, axis=0, mode="clip"), X)
    assert "\n" not in str(caught.value)


def test_indices_of_other_types_are_one_clear_error() -> None:
    def function(x: jax.Array, i: jax.Array) -> jax.Array:
        numbers = lax.GatherDimensionNumbers((0, 2), (1,), (1,))
        return lax.gather(x, i[:, None], numbers, (3, 1, 6), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)

    with pytest.raises(LoweringError, match=r"stablehlo.gather at .*indices of type UINT8: .*INT32, INT64"):
        lower(function, X, np.array([0, 1], np.uint8), symbolic=None)
