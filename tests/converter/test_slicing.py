"""Slices with fixed and computed bounds, and their update in place, against JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
X = rng.standard_normal((3, 4, 6), np.float32)
#: Below, inside and above an axis of six, and where the ends of the type are.
STARTS = [-9, -1, 0, 2, 4, 5, 6, 100]


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type(dtype: str) -> None:
    x = rng.integers(0, 2, (4, 6)).astype("float32" if dtype == "bfloat16" else dtype)

    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        part = lax.dynamic_slice(x, (i, i - 1), (2, 3))
        moved = lax.dynamic_update_slice(x, part[::-1], (i - 1, i))
        column = lax.dynamic_update_slice_in_dim(x, x[:, :2], i, 1)
        return [part, moved, column, x[1:4:2, ::-1], lax.rev(x, (0,)), x.T, lax.concatenate([x, x[:1], x[:0]], 0)]

    compare(function, x, np.asarray(2, np.int32), dtype=dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_starts_of_every_type_are_moved_inside(dtype: str) -> None:
    ends = np.iinfo(dtype)
    starts = np.array([s for s in STARTS if s >= ends.min] + [ends.min, ends.max // 4], dtype)

    def function(x: jax.Array, starts: jax.Array) -> list[jax.Array]:
        # As the op has it: without what jax adds to a negative start.
        raw = {"allow_negative_indices": False}
        slices = [lax.dynamic_slice(x, (s, starts[2]), (3, 2), **raw) for s in starts]
        return slices + [lax.dynamic_update_slice(x, x[:2, :1] * 2, (starts[1], s), **raw) for s in starts]

    compare(function, X[0], starts)


@pytest.mark.parametrize("start", STARTS)
def test_starts_known_at_translation(start: int) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        at = np.int32(start)
        return [lax.dynamic_slice(x, (at, at), (2, 4)), lax.dynamic_update_slice(x, x[:2, :3] + 1, (at, at))]

    compare(function, X[0])


def test_degenerate_slices() -> None:
    def function(x: jax.Array, empty: jax.Array, i: jax.Array) -> list[jax.Array]:
        whole = lax.dynamic_slice(x, (i, i), x.shape)
        nothing = lax.dynamic_slice(x, (i, i), (0, 2))
        unchanged = lax.dynamic_update_slice(x, x[:0], (i, i))
        replaced = lax.dynamic_update_slice(x, -x, (i, i))
        scalar = lax.dynamic_update_slice(i, i + 1, ())
        return [
            whole,
            nothing,
            unchanged,
            replaced,
            scalar,
            lax.dynamic_slice(empty, (i, i), (0, 1)),
            lax.rev(empty, (0, 1)),
        ]

    compare(function, X[0], np.zeros((0, 3), np.float32), np.asarray(3, np.int32))


def test_an_update_along_one_axis_moves_no_index_per_element() -> None:
    model = run_and_compare(
        lambda x, i: lax.dynamic_update_slice_in_dim(x, x[:, :1], i[0], 1), X, np.array([2], np.int32), symbolic=None
    )
    assert op_types(model)["Concat"] == 1
    assert not {"ScatterND", "ScatterElements"} & op_types(model).keys()


def scanned(x: jax.Array) -> jax.Array:
    """A cache that each step writes to and reads from."""

    def step(cache: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        cache = lax.dynamic_update_slice_in_dim(cache, lax.dynamic_slice_in_dim(x, k, 1, 1) * 2, k, 1)
        return cache, lax.dynamic_index_in_dim(cache, k // 2, 1, keepdims=False)

    cache, steps = lax.scan(step, jnp.zeros_like(x), jnp.arange(4, dtype=jnp.int32))
    return cache.sum(0) + steps.sum((0, 1))


UNKNOWN: dict[str, Callable[[jax.Array, jax.Array], object]] = {
    "other axes": lambda x, i: lax.dynamic_slice(x, (0, i[0], i[0]), (x.shape[0], 2, 3)),
    "the batch": lambda x, i: lax.dynamic_slice_in_dim(x, i[0] - 1, 1, 0),
    "all but one of the batch": lambda x, i: lax.dynamic_slice_in_dim(x, i[0], x.shape[0] - 1, 0),
    "one of the batch": lambda x, i: lax.dynamic_index_in_dim(x, i[0] - 2, 0, keepdims=False),
    "update along the batch": lambda x, i: lax.dynamic_update_slice_in_dim(x, x[:1] + 1, i[0] + 1, 0),
    "update along others": lambda x, i: lax.dynamic_update_slice(x, x[:, :2, :2] + 1, (0, i[0], i[0] + 9)),
    "update of a whole sample": lambda x, i: lax.dynamic_update_index_in_dim(x, x[0] * 2, i[0], 0),
    "roll": lambda x, i: [jnp.roll(x, i[0], axis) for axis in (0, 1, 2)],
    "roll of a batch": lambda x, i: jnp.roll(x, -1, 0),
    "fixed bounds": lambda x, i: (x[:-1], x[1:], x[:, 1:-1], x[::-1], x[:, ::-2], x[-1:]),
    "halves": lambda x, i: jnp.concatenate([x[..., 3:], x[..., :3]], -1),
    "scan": lambda x, i: scanned(x),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_batch(name: str) -> None:
    run_and_compare(UNKNOWN[name], X, np.array([1, 0, 2], np.int32), rtol=1e-6 if name == "scan" else 0)


def test_computed_bounds_of_unknown_length() -> None:
    text = """
    func.func @main(%x: tensor<6xf32>, %a: tensor<1xi32>, %b: tensor<1xi32>) -> tensor<?xf32> {
      %step = stablehlo.constant dense<2> : tensor<1xi32>
      %0 = stablehlo.real_dynamic_slice %x, %a, %b, %step
        : (tensor<6xf32>, tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    }"""
    x = np.arange(6, dtype=np.float32)
    model = stablehlo_to_onnx(text)
    for a, b in ((0, 6), (1, 4), (3, 3)):
        (found,) = run(model, x, np.array([a], np.int32), np.array([b], np.int32))
        np.testing.assert_array_equal(found, x[a:b:2])


@pytest.mark.parametrize("kind", ["i32", "i64"])
def test_computed_bounds_of_known_length_are_moved_inside(kind: str) -> None:
    text = f"""
    func.func @main(%x: tensor<?x6xf32>, %a: tensor<2x{kind}>) -> tensor<2x4xf32> {{
      %size = stablehlo.constant dense<[2, 4]> : tensor<2x{kind}>
      %one = stablehlo.constant dense<1> : tensor<2x{kind}>
      %b = stablehlo.add %size, %a : tensor<2x{kind}>
      %0 = stablehlo.real_dynamic_slice %x, %a, %b, %one
        : (tensor<?x6xf32>, tensor<2x{kind}>, tensor<2x{kind}>, tensor<2x{kind}>) -> tensor<2x4xf32>
      return %0 : tensor<2x4xf32>
    }}"""
    x, dtype = X[:, 0], np.dtype(f"int{kind[1:]}")
    model = stablehlo_to_onnx(text)
    for starts in ([0, 0], [1, 2], [9, 9], [-3, 1], [1, -5]):
        at = np.asarray(starts).astype(dtype)
        i, j = np.clip(at.astype(np.int64), 0, [len(x) - 2, 2])
        for found in (*run(model, x, at), *run(model, x, at, optimized=True)):
            np.testing.assert_array_equal(found, x[i : i + 2, j : j + 4])


def test_what_jax_has_clamped_is_not_clamped_again() -> None:
    model = run_and_compare(UNKNOWN["all but one of the batch"], X, np.array([1, 0, 2], np.int32), rtol=0)
    assert op_types(model)["Max"] == op_types(model)["Min"] == 1


def test_strides_that_depend_on_data_are_one_clear_error() -> None:
    text = """
    func.func @main(%x: tensor<6xf32>, %a: tensor<1xi32>) -> tensor<?xf32> {
      %0 = stablehlo.real_dynamic_slice %x, %a, %a, %a
        : (tensor<6xf32>, tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    }"""
    with pytest.raises(LoweringError, match=r"stablehlo.real_dynamic_slice at .*strides depend on data"):
        stablehlo_to_onnx(text)


def test_set_dimension_size_of_a_known_number() -> None:
    def text(size: int) -> str:
        return (
            "func.func @main(%x: tensor<2x4xf32>) -> tensor<2xf32> {\n"
            f"%n = stablehlo.constant dense<{size}> : tensor<i32>\n%z = stablehlo.constant dense<0.0> : tensor<f32>\n"
            "%s = stablehlo.set_dimension_size %x, %n, dim = 1 :"
            " (tensor<2x4xf32>, tensor<i32>) -> tensor<2x?xf32, #stablehlo.bounds<?, 4>>\n"
            "%y = stablehlo.reduce(%s init: %z) applies stablehlo.add across dimensions = [1] :"
            " (tensor<2x?xf32, #stablehlo.bounds<?, 4>>, tensor<f32>) -> tensor<2xf32>\nreturn %y : tensor<2xf32>\n}"
        )

    for size in (0, 3, 4):
        compare_text(text(size), np.arange(8, dtype=np.float32).reshape(2, 4))
    with pytest.raises(LoweringError, match=r"stablehlo.set_dimension_size at .*: size 5 of an axis of 4"):
        stablehlo_to_onnx(text(5))
