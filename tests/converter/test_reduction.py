"""reduce in ONNX Runtime against JAX: every body and type, hostile elements included."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import export, lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import run, run_and_compare

rng = np.random.default_rng(0)

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64", "float16")


@pytest.fixture(autouse=True)
def wide_types() -> Any:
    """Types of 64 bits in JAX."""
    with jax.enable_x64(True):
        yield


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Over the whole range of an integer type, the ends included, so that sums and products wrap around."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.7
    if kind.kind == "f":
        return rng.standard_normal(shape).astype(kind)
    limits = np.iinfo(kind)
    drawn = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    drawn.flat[:2] = limits.min, limits.max
    return drawn


def largest(x: np.ndarray, axis: int) -> np.ndarray:
    """The maximum of IEEE 754-2019: NaN if an element is NaN, and +0 above -0."""
    found, is_zero = np.max(x, axis), x == 0
    negative = np.where(is_zero, np.signbit(x), True).all(axis)
    return np.where(found == 0, np.where(negative, x.dtype.type(-0.0), x.dtype.type(0.0)), found)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_integers_and_truth_values(dtype: str) -> None:
    x = numbers(dtype, 3, 4, 5)
    one = np.asarray(1, dtype)

    def function(x: jax.Array) -> list[jax.Array]:
        bodies: list[Callable[..., jax.Array]] = [lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor, lax.max, lax.min]
        bodies += [] if dtype == "bool" else [lax.add, lax.mul]
        axes = [(0,), (1, 2), (0, 1, 2), ()]
        return [lax.reduce(x, one, body, along) for body in bodies for along in axes]

    run_and_compare(function, x, symbolic=None)
    if dtype != "bool":
        run_and_compare(lambda x: [jnp.sum(x, 0, dtype), jnp.max(x, (0, 2)), jnp.min(x), jnp.argmax(x, 0)], x)


def test_numbers_of_64_bits_that_differ_in_their_lower_halves_only() -> None:
    x = (5 << 32) + rng.integers(0, 2**32, (4, 37))
    function = lambda x: [jnp.max(x, 1), jnp.min(x, 1), jnp.max(x), jnp.argmax(x, 1)]  # noqa: E731
    run_and_compare(function, x)
    run_and_compare(function, x.astype(np.uint64) + (1 << 63))


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(dtype: str) -> None:
    x = numbers(dtype, 3, 4, 5)

    def function(x: jax.Array) -> list[jax.Array]:
        bodies = [lax.add, lax.mul, lax.max, lax.min]
        return [lax.reduce(x, np.asarray(0.5, dtype), body, along) for body in bodies for along in [(0,), (1, 2), ()]]

    run_and_compare(function, x, symbolic=None, rtol=1e-6 if dtype != "float16" else 2e-3)
    run_and_compare(lambda x: [jnp.sum(x, 1), jnp.prod(x, 2), jnp.max(x), jnp.min(x, 0)], x,
                    rtol=1e-6 if dtype != "float16" else 2e-3)  # fmt: skip


def test_bfloat16_inside() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        narrow = x.astype(ml_dtypes.bfloat16)
        results = [jnp.max(narrow, 1), jnp.min(narrow), jnp.sum(narrow, 1), jnp.argmax(narrow, 1)]
        return [r.astype(jnp.float32) for r in results]

    run_and_compare(function, numbers("float32", 3, 7), rtol=1e-2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_keep_nan_and_the_signs_of_zeros(dtype: str) -> None:
    kinds = np.asarray([np.nan, 0.0, -0.0, np.inf, -np.inf, 1, -1], dtype)
    chosen = [[6], [0, 1, 2], [1, 2, 6], [1, 2, 5], [2, 6], [4, 0], [3, 0, 6, 5], range(7)]
    for n in (1, 2, 4, 17):
        x = np.stack([kinds[rng.choice(c, (6, n))] for c in chosen])
        run_and_compare(lambda x: [f(x, axis) for f in (jnp.argmax, jnp.argmin) for axis in (1, 2)], x)
        model = run_and_compare(lambda x: [f(x, axis) for f in (jnp.max, jnp.min) for axis in (1, 2)], x)
        # The signs are the standard's: XLA's own are another matter where it computes several elements at once.
        wanted = [*(largest(x, axis) for axis in (1, 2)), *(-largest(-x, axis) for axis in (1, 2))]
        results = zip(run(model, x) + run(model, x, optimized=True), wanted * 2, strict=True)
        for found, exact in results:
            np.testing.assert_array_equal(found, exact)
            np.testing.assert_array_equal(np.signbit(found[exact == 0]), np.signbit(exact[exact == 0]))


@pytest.mark.parametrize("kind", ["int8", "uint16", "int64"])
def test_places_of_equal_elements_are_the_first(kind: str) -> None:
    x = rng.integers(0, 3, (3, 9, 5)).astype(kind)
    function = lambda x: [f(x, a, k) for f in (lax.argmax, lax.argmin) for a in (1, 2) for k in (np.int32, kind)]  # noqa: E731
    run_and_compare(function, x)


def test_the_largest_element_with_its_place() -> None:
    def function(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def body(a: Any, b: Any) -> Any:
            first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
            return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

        places = lax.broadcasted_iota(jnp.int32, x.shape, 1)
        return lax.reduce((x, places), (np.float32(-np.inf), np.int32(0)), body, (1,))  # type: ignore[return-value]

    run_and_compare(function, np.round(numbers("float32", 3, 100, 4)))
    run_and_compare(function, np.round(numbers("float32", 3, 7, 4)))


def test_bodies_of_several_ops() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        one = np.float32(1)
        return [
            lax.reduce(x, one, lambda a, b: a * b + a, (1,)),
            lax.reduce(x, one, lambda a, b: jnp.sqrt(a * a + b * b), (1, 2)),
            *lax.reduce((x, x * 2), (one, one), lambda a, b: (lax.add(a[0], b[0]), lax.max(a[1], b[1])), (2,)),
        ]

    run_and_compare(function, numbers("float32", 3, 4, 5))


def test_axes_without_elements() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        return [jnp.sum(x, 1), jnp.prod(x, 1), lax.reduce(x, x.dtype.type(3), lax.max, (0, 1)), jnp.max(x, 0)]

    for dtype in ("float32", "int32", "uint8", "bool"):
        run_and_compare(function, np.zeros((3, 0), dtype), symbolic=None)


def test_a_sum_over_an_unknown_number() -> None:
    (b,) = export.symbolic_shape("b")
    function = jax.jit(lambda x: (jnp.sum(x, 0, dtype=x.dtype), jnp.max(x, 0), jnp.argmin(x, 0)))
    for dtype in ("int32", "uint64", "float32"):
        x = numbers(dtype, 5, 3)
        exported = export.export(function, platforms=["cpu"])(jax.ShapeDtypeStruct((b, 3), dtype))
        model = stablehlo_to_onnx(exported.mlir_module_serialized, argument_names=["x"])
        for found, wanted in zip(run(model, x), function(x), strict=True):
            np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-6)


def test_a_body_of_its_own_over_an_unknown_number_is_one_clear_error() -> None:
    with pytest.raises(LoweringError, match=r"reduce at .*2\*b elements to combine"):
        run_and_compare(lambda x: lax.reduce(x, np.float32(0), lambda a, b: a * b + a, (0, 1)), np.ones((1, 2), "f4"))


def test_a_body_with_an_inner_reduction_is_one_clear_error() -> None:
    text = """
    func.func public @main(%x: tensor<4xf32>) -> tensor<f32> {
      %zero = stablehlo.constant dense<0.0> : tensor<f32>
      %y = stablehlo.reduce(%x init: %zero) across dimensions = [0] : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
        reducer(%a: tensor<f32>, %b: tensor<f32>) {
          %c = stablehlo.reshape %a : (tensor<f32>) -> tensor<1xf32>
          %d = stablehlo.reshape %c : (tensor<1xf32>) -> tensor<f32>
          %e = stablehlo.add %d, %b : tensor<f32>
          stablehlo.return %e : tensor<f32>
        }
      return %y : tensor<f32>
    }"""
    with pytest.raises(LoweringError, match=r"stablehlo.reduce at .*body with stablehlo.reshape"):
        stablehlo_to_onnx(text)
