"""reduce_window and select_and_scatter in ONNX Runtime against JAX: every op and type, hostile elements included."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)

#: The sums of float16 are rounded after each step, in an order of XLA's own.
RTOL = {"float16": 1e-2, "float32": 2e-6, "float64": 1e-14}


@pytest.fixture(autouse=True)
def wide_types() -> Iterator[None]:
    """Types of 64 bits in JAX."""
    with jax.enable_x64(True):
        yield


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Over the whole range of an integer type, the ends included, so that sums wrap around."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.6
    if kind.kind == "f":
        return rng.standard_normal(shape).astype(kind)
    limits = np.iinfo(kind)
    drawn = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    drawn.flat[:2] = limits.min, limits.max
    return drawn


#: Window, strides, padding, holes in the array and in the window, for an array of (2, 9, 8).
WINDOWS: dict[str, tuple[Any, ...]] = {
    "plain": ((1, 2, 3), (1, 1, 1), "VALID"),
    "strides": ((1, 3, 2), (1, 2, 3), "SAME"),
    "all axes": ((2, 3, 3), (1, 2, 2), [(1, 0), (0, 2), (1, 1)]),
    "cropped": ((1, 2, 2), (1, 1, 1), [(0, 0), (-2, 3), (1, -1)]),
    "holes in the array": ((1, 3, 2), (1, 2, 1), [(0, 0), (1, 0), (2, -1)], (1, 2, 3)),
    "holes in the window": ((1, 3, 2), (1, 1, 2), "SAME", (1, 1, 1), (1, 2, 3)),
    "large": ((1, 9, 13), (1, 1, 2), [(0, 0), (4, 4), (6, 6)]),
    "padding alone": ((1, 2, 2), (1, 1, 1), [(0, 0), (4, 0), (0, 5)]),
    "no place": ((1, 10, 2), (1, 1, 1), "VALID"),
    "one element": ((1, 1, 1), (1, 2, 1), "VALID"),
}


def windows_of(body: Callable[..., jax.Array], initial: Any) -> Callable[[jax.Array], list[jax.Array]]:
    return lambda x: [lax.reduce_window(x, initial, body, *settings) for settings in WINDOWS.values()]


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64", "float16", "int16", "uint64"])
def test_every_form_and_type(dtype: str) -> None:
    kind = np.dtype(dtype)
    bodies: list[tuple[Callable[..., jax.Array], Any]] = [(lax.max, kind.type(0)), (lax.min, kind.type(1))]
    if kind.kind == "f":
        bodies += [(lax.add, kind.type(0)), (lax.mul, kind.type(1)), (lax.max, kind.type(-np.inf))]
    elif kind.kind == "b":
        bodies += [(lax.bitwise_and, np.True_), (lax.bitwise_or, np.False_), (lax.bitwise_xor, np.False_)]
    else:
        bodies += [(lax.add, kind.type(0)), (lax.mul, kind.type(1)), (lax.add, kind.type(3))]
        bodies += [(lax.bitwise_and, np.asarray(-1).astype(kind)), (lax.bitwise_xor, kind.type(0))]

    def function(x: jax.Array) -> list[jax.Array]:
        return [result for body, initial in bodies for result in windows_of(body, initial)(x)]

    run_and_compare(function, numbers(dtype, 2, 9, 8), symbolic=None, rtol=RTOL.get(dtype, 0))


def test_an_unknown_batch() -> None:
    chosen = {name: settings for name, settings in WINDOWS.items() if name != "all axes"}

    def function(x: jax.Array) -> list[jax.Array]:
        pools = [(lax.max, -np.inf), (lax.add, 0.0)]
        return [lax.reduce_window(x, x.dtype.type(i), body, *s) for body, i in pools for s in chosen.values()]

    run_and_compare(function, numbers("float32", 2, 9, 8), rtol=2e-6)


def test_an_axis_of_unknown_size() -> None:
    (n,) = export.symbolic_shape("n", constraints=["n >= 3"])

    def pooled(x: jax.Array) -> list[jax.Array]:
        padding = [(0, 0), (1, 1)]
        return [lax.reduce_window(x, np.float32(-np.inf), lax.max, (1, 3), (1, step), padding) for step in (1, 2)]

    exported = export.export(jax.jit(pooled), platforms=["cpu"])(jax.ShapeDtypeStruct((2, n), np.float32))
    model = stablehlo_to_onnx(exported.mlir_module_serialized, argument_names=["x"])
    for size in (3, 8):
        x = numbers("float32", 2, size)
        for found, wanted in zip(run(model, x), pooled(x), strict=True):
            np.testing.assert_array_equal(found, np.asarray(wanted))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_extremes_keep_nan_and_the_signs_of_zeros(dtype: str) -> None:
    kinds = np.asarray([np.nan, 0.0, -0.0, np.inf, -np.inf, 1, -1], dtype)
    chosen = [[6], [0, 1, 2], [1, 2], [1, 2, 6], [1, 2, 5], [2, 6], [4, 0], [3, 0, 6, 5], range(7)]
    x = np.stack([kinds[rng.choice(c, 40)] for c in chosen])

    def function(x: jax.Array) -> list[jax.Array]:
        window, steps, padding = (1, 3), (1, 2), [(0, 0), (1, 1)]
        limit = x.dtype.type(np.inf)
        return [
            lax.reduce_window(x, -limit, lax.max, window, steps, padding),
            lax.reduce_window(x, limit, lax.min, window, steps, padding),
        ]

    def negative(x: np.ndarray, kind: str) -> np.ndarray:
        """Whether the zero that is the extreme in each window is -0: the smaller of the two."""
        filled = np.pad(x, [(0, 0), (1, 1)], constant_values=-np.inf if kind == "max" else np.inf)
        seen = np.lib.stride_tricks.sliding_window_view(filled, 3, axis=1)[:, ::2]
        signs = np.where(seen == 0, np.signbit(seen), kind == "max")
        return signs.all(-1) if kind == "max" else signs.any(-1)

    model = run_and_compare(function, x)
    for found, kind in zip(run(model, x), ("max", "min"), strict=True):
        np.testing.assert_array_equal(np.signbit(found)[found == 0], negative(x, kind)[found == 0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "uint16", "uint64"])
def test_cumulative(dtype: str) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        ops = [lax.cumsum, lax.cumprod, lax.cummax, lax.cummin]
        return [op(x, axis, reverse=turned) for op in ops for axis in (1, 2) for turned in (False, True)]

    model = run_and_compare(function, numbers(dtype, 2, 9, 80), symbolic=None, rtol=RTOL.get(dtype, 0) * 10)
    assert op_types(model)["CumSum"] == 4


def test_cumulative_log_sum_exp() -> None:
    x = np.concatenate([numbers("float32", 2, 3, 7), np.full((2, 1, 7), -np.inf, np.float32)], 1)
    run_and_compare(lambda x: [lax.cumlogsumexp(x, 1), lax.cumlogsumexp(x, 2, reverse=True)], x, rtol=2e-6)
    run_and_compare(lambda x: lax.cumlogsumexp(x, 1), numbers("float32", 2, 100), rtol=5e-6)


def test_bfloat16_inside() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        narrow = x.astype(ml_dtypes.bfloat16)
        bodies = [(lax.add, 0.0), (lax.max, -np.inf)]
        results = [lax.reduce_window(narrow, narrow.dtype.type(i), f, (1, 2), (1, 2), "VALID") for f, i in bodies]
        return [r.astype(np.float32) for r in [*results, lax.cumsum(narrow, 1), lax.cummax(narrow, 1)]]

    run_and_compare(function, numbers("float32", 2, 12), rtol=1e-2)


def test_pooling_and_its_gradient() -> None:
    def pooled(x: jax.Array, body: Callable[..., jax.Array], limit: float, padding: Any) -> jax.Array:
        return lax.reduce_window(x, np.float32(limit), body, (1, 3, 2), (1, 2, 2), padding)

    def function(x: jax.Array) -> list[jax.Array]:
        kinds = [(lax.max, -np.inf, "SAME"), (lax.min, np.inf, "VALID"), (lax.add, 0.0, "SAME")]
        return [jax.grad(lambda x, k=k: jnp.sum(pooled(x, *k) ** 2))(x) for k in kinds]

    run_and_compare(function, numbers("float32", 2, 9, 8))
    # Many of the elements of a window are equal: the first of them is the one.
    run_and_compare(function, rng.integers(1, 3, (2, 9, 8)).astype(np.float32))


def test_second_derivatives_gather_what_is_selected() -> None:
    def function(x: jax.Array, t: jax.Array) -> jax.Array:
        def pooled(x: jax.Array) -> jax.Array:
            return lax.reduce_window(x, np.float32(-np.inf), lax.max, (1, 2, 2), (1, 1, 2), "SAME")

        return jax.jvp(pooled, (x,), (t,))[1]

    run_and_compare(function, numbers("float32", 2, 9, 8), numbers("float32", 2, 9, 8), symbolic=None)


SELECTION = """
func.func public @main(%x: tensor<7x{t}>, %s: tensor<{n}x{t}>, %i: tensor<{t}>) -> tensor<7x{t}> {{
  %y = "stablehlo.select_and_scatter"(%x, %s, %i) <{{window_dimensions = array<i64: {window}>,
    window_strides = array<i64: {stride}>, padding = dense<[[{low}, {high}]]> : tensor<1x2xi64>}}> ({{
  ^bb0(%a: tensor<{t}>, %b: tensor<{t}>):
    %c = stablehlo.compare GE, %a, %b : (tensor<{t}>, tensor<{t}>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }}, {{
  ^bb0(%a: tensor<{t}>, %b: tensor<{t}>):
    %c = stablehlo.{scatter} %a, %b : tensor<{t}>
    stablehlo.return %c : tensor<{t}>
  }}) : (tensor<7x{t}>, tensor<{n}x{t}>, tensor<{t}>) -> tensor<7x{t}>
  return %y : tensor<7x{t}>
}}"""


@pytest.mark.parametrize(("dtype", "t", "scatter"), [("float32", "f32", "add"), ("int32", "i32", "maximum"),
                                                     ("uint64", "ui64", "multiply")])  # fmt: skip
@pytest.mark.parametrize(("window", "stride", "low", "high"), [(3, 2, 1, 1), (2, 3, 3, 1), (4, 1, -1, 2), (1, 1, 0, 0)])
def test_selection_beside_padding(
    dtype: str, t: str, scatter: str, window: int, stride: int, low: int, high: int
) -> None:
    """Against the StableHLO specification, done element by element; padding is never selected."""
    n = (7 + low + high - window) // stride + 1
    x, source, initial = numbers(dtype, 7), numbers(dtype, n), np.asarray(2, dtype)
    op = {"add": np.add, "maximum": np.maximum, "multiply": np.multiply}[scatter]
    wanted = np.full(7, initial)
    for i in range(n):
        places = [p for k in range(window) if 0 <= (p := i * stride + k - low) < 7]
        # Where a crop takes elements away they are no part of a window either.
        places = [p for p in places if -low <= p < 7 + high]
        if places:
            best = max(places, key=lambda p: (x[p], -p))
            wanted[best] = op(wanted[best], source[i])
    text = SELECTION.format(t=t, n=n, window=window, stride=stride, low=low, high=high, scatter=scatter)
    (found,) = run(stablehlo_to_onnx(text), x, source, initial)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_selection_takes_nan_as_xla_does() -> None:
    from jax._src.lax.windowed_reductions import _select_and_scatter_add

    values = [[np.nan, 1, 2], [1, np.nan, 2], [2, 1, np.nan], [np.nan] * 3, [np.nan, 2, 1], [1, 1, 1]]
    x, source = np.asarray(values, np.float32), np.ones((6, 1), np.float32)

    def function(x: jax.Array) -> jax.Array:
        return _select_and_scatter_add(source, x, lax.ge_p, (1, 3), (1, 1), ((0, 0), (0, 0)))

    run_and_compare(function, x, symbolic=None, rtol=0)


def test_a_body_without_elementwise_ops_is_one_clear_error() -> None:
    text = """
    func.func public @main(%x: tensor<4xf32>) -> tensor<3xf32> {
      %zero = stablehlo.constant dense<0.0> : tensor<f32>
      %y = "stablehlo.reduce_window"(%x, %zero) <{window_dimensions = array<i64: 2>}> ({
      ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %c = stablehlo.reverse %a, dims = [] : tensor<f32>
        %d = stablehlo.add %c, %b : tensor<f32>
        stablehlo.return %d : tensor<f32>
      }) : (tensor<4xf32>, tensor<f32>) -> tensor<3xf32>
      return %y : tensor<3xf32>
    }"""
    with pytest.raises(LoweringError, match=r"stablehlo.reduce_window at .*body with stablehlo.reverse"):
        stablehlo_to_onnx(text)


def test_a_huge_window_to_select_from_is_one_clear_error() -> None:
    with pytest.raises(LoweringError, match=r"stablehlo.select_and_scatter at .*window of 400 elements"):
        lower(
            jax.grad(lambda x: jnp.sum(lax.reduce_window(x, -np.inf, lax.max, (20, 20), (1, 1), "VALID"))),
            numbers("float64", 30, 30), symbolic=None,
        )  # fmt: skip


def test_running_products_and_logarithms_are_short() -> None:
    """Products in the order of the elements: others would overflow behind the 0."""
    x = numbers("float32", 2, 30) * 3
    x[0, :4], x[1, 5:7] = [2, 0, 1e30, 1e30], [-np.inf, np.inf]

    def function(x: jax.Array) -> list[jax.Array]:
        return [lax.cumprod(x, 1), *(lax.cumlogsumexp(x, 1, reverse=reverse) for reverse in (False, True))]

    model = run_and_compare(function, x, symbolic=None, rtol=2e-6)
    assert sum(op_types(model).values()) < 80
