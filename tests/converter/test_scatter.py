"""Scatter against JAX: every way to combine, every type, indices outside, general dimension numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare
from edges import FLOATS, INTEGERS, compare
from text import compare_text

rng = np.random.default_rng(0)
Mode = lax.GatherScatterMode
#: Twice the same, at the edges, outside on both sides.
PLACES = np.array([1, 3, 1, 0, -1, -9, 4, 2**31 - 1, -(2**31), 3], np.int32)


def values(dtype: str, *shape: int) -> np.ndarray:
    """Whole numbers, so that sums are exact in every type; of floats also zeros of both signs."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    drawn = rng.integers(0 if dtype.startswith("u") else -3, 4, shape)
    if dtype not in FLOATS:
        return drawn.astype(dtype)
    return np.where(rng.random(shape) < 0.2, -0.0, drawn).astype("float32" if dtype == "bfloat16" else dtype)


def each_way(dtype: str) -> list[str]:
    return ["set", "min", "max"] if dtype == "bool" else ["set", "add", "subtract", "multiply", "min", "max"]


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_way_in_every_type(dtype: str) -> None:
    def function(x: jax.Array, rows: jax.Array, columns: jax.Array, i: jax.Array) -> list[jax.Array]:
        ways = each_way(dtype)
        by_row = [getattr(x.at[i], way)(rows, mode="drop") for way in ways]
        by_column = [getattr(x.at[:, i], way)(columns, mode="clip") for way in ways]
        elements = [getattr(x.at[i, i[::-1]], way)(rows[:, 0], mode="promise_in_bounds") for way in ways]
        return by_row + by_column + elements

    compare(function, values(dtype, 4, 5), values(dtype, 10, 5), values(dtype, 4, 10), PLACES, dtype=dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_infinity_and_both_zeros_in_extremes(dtype: str) -> None:
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 2], "float32")
    a, b, c = (m.reshape(-1) for m in np.meshgrid(special, special, special))
    places = np.concatenate([np.arange(len(a))] * 2).astype(np.int32)
    kind = "float32" if dtype == "bfloat16" else dtype
    x, update = a.astype(kind), np.concatenate([b, c]).astype(kind)
    compare(lambda x, u, i: [x.at[i].max(u), x.at[i].min(u)], x, update, places, dtype=dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_around_and_order_by_all_their_bits(dtype: str) -> None:
    ends = np.iinfo(dtype)
    x = np.array([ends.min, ends.max, ends.max // 2 + 1, 0, 1], dtype)
    update = np.array([ends.max, ends.max, ends.max, ends.min, ends.max // 2], dtype)
    places = np.arange(5, dtype=np.int32)
    compare(lambda x, u, i: [getattr(x.at[i], way)(u) for way in each_way(dtype)], x, update, places)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_indices_of_every_type(dtype: str) -> None:
    ends = np.iinfo(dtype)
    places = np.array([0, 2, 5, 6, ends.max // 4, ends.min, ends.max], dtype)
    numbers = lax.ScatterDimensionNumbers((1,), (0,), (0,))

    def function(x: jax.Array, u: jax.Array, i: jax.Array) -> list[jax.Array]:
        return [lax.scatter(x, i[:, None], u, numbers, mode=m) for m in (Mode.FILL_OR_DROP, Mode.CLIP)]

    compare(function, values("float32", 6, 3), values("float32", 7, 3), places)


def numbered(
    operand: Sequence[int],
    indices: Sequence[int],
    update: Sequence[int],
    window: Sequence[int],
    inserted: Sequence[int],
    index_map: Sequence[int],
    batching: Sequence[int] = (),
    indices_batching: Sequence[int] = (),
) -> tuple[Sequence[Sequence[int]], lax.ScatterDimensionNumbers]:
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(window),
        inserted_window_dims=tuple(inserted),
        scatter_dims_to_operand_dims=tuple(index_map),
        operand_batching_dims=tuple(batching),
        scatter_indices_batching_dims=tuple(indices_batching),
    )
    return (operand, indices, update), numbers


NUMBERS = {
    "windows that reach outside are left out as a whole": numbered((6, 2), (9, 1), (9, 3, 2), (1, 2), (), (0,)),
    "windows of two axes": numbered((5, 6), (7, 2), (7, 2, 3), (1, 2), (), (0, 1)),
    "axes in another order": numbered((5, 3, 6), (7, 2), (7, 3), (1,), (0, 2), (2, 0)),
    "windows before the places": numbered((5, 3, 6), (7, 2), (3, 7), (0,), (0, 2), (2, 0)),
    "places of two dimensions": numbered((5, 4), (3, 2, 1), (3, 4, 2), (1,), (0,), (0,)),
    "batching": numbered((3, 5, 2), (3, 4, 1), (3, 4, 2), (2,), (1,), (1,), (0,), (0,)),
    "batching behind": numbered((5, 2, 3), (4, 3, 1), (4, 2, 3), (1,), (0,), (0,), (2,), (1,)),
    "two batching axes": numbered((2, 3, 5), (3, 4, 2, 1), (3, 4, 2), (), (2,), (2,), (0, 1), (2, 0)),
    "part of an axis without index": numbered((5, 6), (4, 1), (4, 2), (1,), (0,), (0,)),
    "an axis inserted without index": numbered((5, 3, 6), (4, 1), (4, 6), (1,), (0, 1), (0,)),
    "one index": numbered((5, 3), (1,), (3,), (0,), (0,), (0,)),
    "one window": numbered((5, 3), (2,), (2, 2), (0, 1), (), (0, 1)),
    "no place": numbered((5, 3), (0, 1), (0, 3), (1,), (0,), (0,)),
    "empty windows": numbered((5, 3), (4, 1), (4, 0), (1,), (0,), (0,)),
    "empty operand": numbered((0, 3), (4, 1), (4, 3), (1,), (0,), (0,)),
    "rank 0": numbered((), (0,), (), (), (), ()),
    "no index": numbered((5, 3), (0,), (5, 3), (0, 1), (), ()),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_dimension_numbers(name: str) -> None:
    (operand, indices, update), numbers = NUMBERS[name]

    def function(x: jax.Array, i: jax.Array, u: jax.Array) -> list[jax.Array]:
        return [
            scatter(x, i, u, numbers, mode=mode)
            for scatter in (lax.scatter, lax.scatter_add, lax.scatter_max)
            for mode in (Mode.FILL_OR_DROP, Mode.CLIP)
        ]

    x, u = values("float32", *operand), values("float32", *update)
    i = rng.integers(-2, 8, indices).astype(np.int32)
    compare(function, x, i, u)
    compare(lambda x, u: function(x, jnp.asarray(i), u), x, u)


def test_of_several_updates_of_a_place_the_last_stays() -> None:
    # Many: what runs in parallel takes any.
    places = (np.arange(300_000) * 7 % 5).astype(np.int32)
    update = np.arange(300_000, dtype=np.int32)
    compare(lambda x, u, i: (x.at[i].set(u), x.at[i].add(u)), np.zeros(6, np.int32), update, places)


BATCHED: dict[str, Callable[..., object]] = {
    "the same place of each": lambda x, u: x.at[:, 2].set(u[:, 0]),
    "places of each": lambda x, u: x.at[:, jnp.array([3, 0, 3])].add(u[:, :3]),
    "a place an element": lambda x, u: x.at[jnp.arange(x.shape[0]), u[:, 0, 0].astype(int)].max(u[:, 1]),
    "vmap": lambda x, u: jax.vmap(lambda x, u: x.at[u[:, 0].astype(int)].min(u, mode="drop"))(x, u),
    "vmap of windows": lambda x, u: jax.vmap(lambda x, u: lax.dynamic_update_slice(x, u[:2], (u[0, 0].astype(int), 0)))(
        x, u
    ),
    "onto the batch": lambda x, u: x.at[u[:, 0, 0].astype(int)].multiply(2.0, mode="drop"),
    "from behind": lambda x, u: x.at[-1].set(7.0),
    "one element": lambda x, u: x.at[-1, 1, -2].add(7.0, mode="clip"),
    "sum by segment": lambda x, u: jax.ops.segment_sum(u[:, 0], u[:, 1, 0].astype(int), num_segments=5),
    "in a loop": lambda x, u: lax.fori_loop(0, 4, lambda k, x: x.at[:, k].add(u[:, k] * k), x),
}


@pytest.mark.parametrize("symbolic", ["b", None], ids=["unknown batch", "known batch"])
@pytest.mark.parametrize("name", BATCHED)
def test_batches(name: str, symbolic: str | None) -> None:
    x, u = values("float32", 3, 4, 6), rng.integers(-1, 4, (3, 5, 6)).astype(np.float32)
    run_and_compare(BATCHED[name], x, u, rtol=0, symbolic=symbolic)


def test_indices_known_to_lie_inside_need_no_slot() -> None:
    model = run_and_compare(lambda x: x.at[np.array([2, 0])].set(1.0), values("float32", 3, 4), symbolic=None)
    assert op_types(model).keys() <= {"Expand", "Reshape", "ScatterElements"}


MODULE = """
func.func @main(%x: tensor<4xf32>, %y: tensor<4xi32>, %i: tensor<3x1xi32>, %u: tensor<3xf32>, %v: tensor<3xi32>)
    -> (tensor<4xf32>, tensor<4xi32>) {{
  %0:2 = "stablehlo.scatter"(%x, %y, %i, %u, %v) ({{
  ^bb0(%a: tensor<f32>, %b: tensor<i32>, %c: tensor<f32>, %d: tensor<i32>):
    {body}
  }}) {{scatter_dimension_numbers = #stablehlo.scatter<inserted_window_dims = [0], scatter_dims_to_operand_dims = [0],
      index_vector_dim = 1>, indices_are_sorted = false, unique_indices = false}}
    : (tensor<4xf32>, tensor<4xi32>, tensor<3x1xi32>, tensor<3xf32>, tensor<3xi32>) -> (tensor<4xf32>, tensor<4xi32>)
  return %0#0, %0#1 : tensor<4xf32>, tensor<4xi32>
}}
"""


def test_several_operands_each_in_its_way() -> None:
    body = """%p = stablehlo.subtract %a, %c : tensor<f32>
    stablehlo.return %p, %d : tensor<f32>, tensor<i32>"""
    model = stablehlo_to_onnx(MODULE.format(body=body))
    x, y = np.arange(4, dtype=np.float32), np.arange(4, dtype=np.int32)
    i, u = np.array([[1], [7], [1]], np.int32), np.array([10, 20, 30], np.float32)
    found = run(model, x, y, i, u, u.astype(np.int32))
    np.testing.assert_array_equal(found[0], [0, -39, 2, 3])
    np.testing.assert_array_equal(found[1], [0, 30, 2, 3])


@pytest.mark.parametrize(
    "body",
    [
        "%p = stablehlo.divide %a, %c : tensor<f32>\n stablehlo.return %p, %d : tensor<f32>, tensor<i32>",
        "%p = stablehlo.subtract %c, %a : tensor<f32>\n stablehlo.return %p, %d : tensor<f32>, tensor<i32>",
        "%p = stablehlo.add %c, %c : tensor<f32>\n stablehlo.return %p, %d : tensor<f32>, tensor<i32>",
        "%p = stablehlo.and %b, %d : tensor<i32>\n stablehlo.return %c, %p : tensor<f32>, tensor<i32>",
        "stablehlo.return %a, %d : tensor<f32>, tensor<i32>",
    ],
    ids=["divide", "subtract from the update", "twice the update", "bits", "the old value"],
)
def test_other_bodies_are_applied_in_order(body: str) -> None:
    """Each with the element as the updates before have left it."""
    x, i = np.arange(4, dtype=np.float32), np.array([[1], [7], [1]], np.int32)
    u = np.array([10, 20, 30], np.float32)
    given = x, x.astype(np.int32), i, u, u.astype(np.int32)
    model = compare_text(MODULE.format(body=body), *given)
    for plain, optimized in zip(run(model, *given), run(model, *given, optimized=True), strict=True):
        np.testing.assert_array_equal(optimized, plain)


def test_bodies_of_other_ops_are_one_clear_error() -> None:
    body = """%p = stablehlo.reshape %a : (tensor<f32>) -> tensor<f32>
    stablehlo.return %p, %d : tensor<f32>, tensor<i32>"""
    with pytest.raises(
        LoweringError, match=r"stablehlo.scatter at .*: body with stablehlo.reshape: .*elementwise"
    ) as caught:
        stablehlo_to_onnx(MODULE.format(body=body))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_bodies_of_several_ops(dtype: str) -> None:
    """Where each index occurs once, and where one may occur twice."""
    x, i = values(dtype, 4, 5), np.array([3, 9, 0, -9], np.int32)

    def change(old: jax.Array) -> jax.Array:
        return jnp.where(old > 1, old * 2 - 1, 7)

    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        return [
            x.at[i].apply(change, unique_indices=True, mode="drop"),
            x.at[:, i].apply(change, unique_indices=True, mode="drop"),
            x.at[i[0]].apply(change),
            x.at[1, i[2]].apply(change),
            x.at[jnp.concatenate([i, i[:2]])].apply(change, mode="drop"),
        ]

    model = run_and_compare(function, x, i, rtol=0, symbolic=None)
    assert op_types(model)["Loop"] == 1


def test_a_body_of_old_and_new_elements() -> None:
    def text(unique: str) -> str:
        return f"""
        func.func @main(%x: tensor<5xf32>, %i: tensor<3x1xi32>, %u: tensor<3xf32>) -> tensor<5xf32> {{
          %0 = "stablehlo.scatter"(%x, %i, %u) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
            %h = stablehlo.constant dense<0.5> : tensor<f32>
            %1 = stablehlo.subtract %b, %a : tensor<f32>
            %2 = stablehlo.multiply %1, %h : tensor<f32>
            stablehlo.return %2 : tensor<f32>
          }}) {{scatter_dimension_numbers = #stablehlo.scatter<inserted_window_dims = [0],
            scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, unique_indices = {unique}}}
            : (tensor<5xf32>, tensor<3x1xi32>, tensor<3xf32>) -> tensor<5xf32>
          return %0 : tensor<5xf32>
        }}"""

    given = np.arange(5, dtype=np.float32), np.array([[4], [-1], [0]], np.int32), np.array([9, 8, 7], np.float32)
    compare_text(text("true"), *given)
    twice = np.array([[4], [-1], [4]], np.int32)
    compare_text(text("false"), given[0], twice, given[2])
