"""convolution in ONNX Runtime against JAX: layouts, groups, dilations, padding, types, sizes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def wide_types() -> Iterator[None]:
    """Types of 64 bits in JAX."""
    with jax.enable_x64(True):
        yield


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Over the whole range of an integer type, so that sums wrap around."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


#: Operand, kernel, and what they are convolved by.
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((2, 3, 9), (4, 3, 3), {"window_strides": [2], "padding": [(1, 2)]}),
    "two axes": ((2, 3, 9, 8), (4, 3, 3, 2), {"window_strides": [1, 2], "padding": "SAME"}),
    "three axes": ((1, 2, 5, 6, 7), (3, 2, 3, 2, 2), {"window_strides": [2, 1, 1], "padding": "VALID"}),
    "four axes": ((1, 2, 4, 3, 4, 3), (3, 2, 2, 2, 2, 2), {"window_strides": [1] * 4, "padding": [(1, 0)] * 4}),
    "no axes": ((3, 4), (5, 4), {"window_strides": [], "padding": []}),
    "layout": ((2, 9, 8, 3), (3, 2, 3, 4), {"window_strides": [1, 1], "padding": "SAME",
                                           "dimension_numbers": ("NHWC", "HWIO", "NHWC")}),
    "odd layout": ((9, 2, 3, 8), (3, 2, 4, 3), {"window_strides": [1, 1], "padding": "SAME",
                                              "dimension_numbers": ("HNCW", "HWOI", "WCHN")}),
    "kernel apart": ((2, 3, 9, 9), (4, 3, 3, 2), {"window_strides": [1, 1], "padding": [(2, 1), (0, 3)],
                                                "rhs_dilation": [2, 3]}),
    "cropped": ((2, 3, 9, 9), (4, 3, 3, 2), {"window_strides": [1, 1], "padding": [(-2, 1), (3, -1)]}),
    "features in groups": ((2, 6, 9), (4, 3, 3), {"window_strides": [1], "padding": "SAME", "feature_group_count": 2}),
    "every feature alone": ((2, 3, 9), (6, 1, 3), {"window_strides": [1], "padding": "SAME", "feature_group_count": 3}),
    "batches in groups": ((4, 3, 9), (6, 3, 3), {"window_strides": [1], "padding": "SAME", "batch_group_count": 2}),
    "transposed": ((2, 3, 5, 4), (4, 3, 3, 2), {"window_strides": [1, 1], "padding": [(2, 2), (1, 1)],
                                              "lhs_dilation": [2, 3]}),
    "transposed, padded and cropped": ((2, 3, 5, 4), (4, 3, 3, 2), {
        "window_strides": [1, 1], "padding": [(4, -1), (0, 3)], "lhs_dilation": [2, 3], "rhs_dilation": [1, 2]}),
    "transposed in groups": ((2, 6, 5), (4, 3, 3), {"window_strides": [1], "padding": [(2, 2)], "lhs_dilation": [2],
                                                  "feature_group_count": 2}),
    "holes and strides": ((2, 3, 5), (4, 3, 3), {"window_strides": [3], "padding": [(2, 2)], "lhs_dilation": [2]}),
    "no place for the kernel": ((2, 3, 2), (4, 3, 3), {"window_strides": [1], "padding": "VALID"}),
    "no batch": ((0, 3, 5), (4, 3, 3), {"window_strides": [1], "padding": "VALID"}),
    "no features": ((2, 0, 5), (4, 0, 3), {"window_strides": [1], "padding": "VALID"}),
}  # fmt: skip


def convolved(x: Any, kernel: Any, settings: dict[str, Any], **more: Any) -> jax.Array:
    if kernel.ndim == 2:
        # JAX's names of layouts need an axis; its numbers do not.
        settings = settings | {"dimension_numbers": lax.ConvDimensionNumbers((0, 1), (0, 1), (0, 1))}
    return lax.conv_general_dilated(x, kernel, **settings, **more)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint32", "int64"])
def test_every_form(dtype: str) -> None:
    arrays = [numbers(dtype, *shape) for *shapes, _ in CASES.values() for shape in shapes]

    def function(*arrays: jax.Array) -> list[jax.Array]:
        triples = zip(CASES.values(), arrays[::2], arrays[1::2], strict=True)
        return [convolved(x, kernel, settings) for (_, _, settings), x, kernel in triples]

    run_and_compare(function, *arrays, symbolic=None, rtol={"float64": 1e-14}.get(dtype, 2e-6))


def test_an_unknown_batch() -> None:
    chosen = [case for case in CASES.values() if case[0][0] == 2]
    kernels = [numbers("float32", *of_kernel) for _, of_kernel, _ in chosen]

    def function(*arrays: jax.Array) -> list[jax.Array]:
        triples = zip(arrays, kernels, chosen, strict=True)
        return [convolved(x, kernel, settings) for x, kernel, (_, _, settings) in triples]

    run_and_compare(function, *(numbers("float32", *before) for before, _, _ in chosen), rtol=2e-6)


def test_one_kernel_of_onnx_is_used_where_there_is_one() -> None:
    def counts(name: str) -> dict[str, int]:
        before, of_kernel, settings = CASES[name]
        arrays = numbers("float32", *before), numbers("float32", *of_kernel)
        return op_types(lower(lambda x, kernel: convolved(x, kernel, settings), *arrays, symbolic=None))

    assert counts("two axes") == {"Conv": 1}
    assert counts("features in groups") == {"Conv": 1}
    assert counts("transposed")["ConvTranspose"] == 1


def test_narrow_floats_and_wider_results() -> None:
    x, kernel = numbers("float32", 2, 3, 9), numbers("float32", 4, 3, 3)
    whole, small = numbers("int8", 2, 3, 9), numbers("int8", 4, 3, 3)

    def function(x: jax.Array, k: jax.Array, i: jax.Array, j: jax.Array) -> list[jax.Array]:
        settings = {"window_strides": [1], "padding": "SAME"}
        narrow = [(x.astype(t), k.astype(t)) for t in (np.float16, ml_dtypes.bfloat16)]
        results = [convolved(*pair, settings).astype(np.float32) for pair in narrow]
        results += [convolved(*pair, settings, preferred_element_type=np.float32) for pair in narrow]
        return [*results, convolved(i, j, settings, preferred_element_type=np.int32)]

    model = lower(function, x, kernel, whole, small, symbolic=None)
    found = run(model, x, kernel, whole, small)
    wanted = [np.asarray(w) for w in jax.jit(function)(x, kernel, whole, small)]
    for ours, theirs, rtol in zip(found, wanted, (2e-3, 2e-2, 1e-5, 1e-5, 0), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def test_gradients() -> None:
    settings: dict[str, Any] = {"window_strides": [2, 1], "padding": [(1, 0), (0, 2)], "rhs_dilation": [1, 2]}
    arrays = numbers("float32", 2, 3, 6, 7), numbers("float32", 4, 3, 3, 2)

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(convolved(x, kernel, settings) ** 2)

    run_and_compare(jax.grad(loss, (0, 1)), *arrays, symbolic=None, rtol=5e-6)


def test_a_kernel_that_is_turned_round() -> None:
    text = """
    func.func public @main(%x: tensor<1x1x7xf32>, %k: tensor<1x1x3xf32>) -> tensor<1x1x5xf32> {
      %y = stablehlo.convolution(%x, %k) dim_numbers = [b, f, 0]x[o, i, 0]->[b, f, 0],
        window = {reverse = [true]} {batch_group_count = 1 : i64, feature_group_count = 1 : i64}
        : (tensor<1x1x7xf32>, tensor<1x1x3xf32>) -> tensor<1x1x5xf32>
      return %y : tensor<1x1x5xf32>
    }"""
    x, kernel = numbers("float32", 1, 1, 7), numbers("float32", 1, 1, 3)
    (found,) = run(stablehlo_to_onnx(text), x, kernel)
    np.testing.assert_allclose(found[0, 0], np.convolve(x[0, 0], kernel[0, 0], "valid"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_an_axis_of_unknown_size(padding: str) -> None:
    kernel = numbers("float32", 4, 3, 3)
    (n,) = export.symbolic_shape("n", constraints=["n >= 3"])
    function = jax.jit(lambda x: convolved(x, kernel, {"window_strides": [1], "padding": padding}))
    exported = export.export(function, platforms=["cpu"])(jax.ShapeDtypeStruct((2, 3, n), np.float32))
    model = stablehlo_to_onnx(exported.mlir_module_serialized, argument_names=["x"])
    for size in (3, 8):
        x = numbers("float32", 2, 3, size)
        np.testing.assert_allclose(run(model, x)[0], np.asarray(function(x)), rtol=1e-5, atol=1e-5)


def test_padding_is_computed() -> None:
    text = """
    func.func public @main(%x: tensor<1x1x7xf32>, %k: tensor<1x1x3xf32>, %p: tensor<1x2xi64>) -> tensor<1x1x?xf32> {
      %y = "stablehlo.dynamic_conv"(%x, %k, %p) {
        dimension_numbers = #stablehlo.conv<[b, f, 0]x[o, i, 0]->[b, f, 0]>,
        batch_group_count = 1 : i64, feature_group_count = 1 : i64
      } : (tensor<1x1x7xf32>, tensor<1x1x3xf32>, tensor<1x2xi64>) -> tensor<1x1x?xf32>
      return %y : tensor<1x1x?xf32>
    }"""
    model, x, kernel = stablehlo_to_onnx(text), numbers("float32", 1, 1, 7), numbers("float32", 1, 1, 3)
    for widths in ((0, 0), (1, 2), (-1, 3), (-2, -2)):
        wanted = lax.conv_general_dilated(x, kernel, (1,), [widths])
        np.testing.assert_allclose(run(model, x, kernel, np.array([widths]))[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_huge_kernel_of_integers_is_one_clear_error() -> None:
    arrays = numbers("int32", 1, 1, 40, 40), numbers("int32", 1, 1, 33, 33)
    settings = {"window_strides": [1, 1], "padding": "VALID"}
    with pytest.raises(LoweringError, match=r"stablehlo.convolution at .*1089 places of a kernel of INT32"):
        lower(lambda x, kernel: convolved(x, kernel, settings), *arrays, symbolic=None)
