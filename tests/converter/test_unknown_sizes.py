"""Networks on images and sequences of unknown size, against JAX at odd, even and smallest sizes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as oir
import pytest
from jax import export, lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.entry_signature import read_entry_signature
from swift_export.formats.stablehlo_module import read_module

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run

IMAGE = "b, h, w, 2"
IMAGES = [(2, 8, 11, 2), (1, 7, 4, 2), (1, 3, 3, 2)]
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 2, 4)).astype(np.float32)


def lowered(function: Callable[..., Any], *shapes: str, dtype: Any = np.float32) -> oir.Model:
    """The function with unknown sizes as its module names them."""
    scope = export.SymbolicScope()
    structs = [jax.ShapeDtypeStruct(export.symbolic_shape(shape, scope=scope), dtype) for shape in shapes]
    data = export.export(jax.jit(function), platforms=["cpu"])(*structs).mlir_module_serialized
    signature = read_entry_signature(read_module(data))
    dims = dict(zip(signature.arguments, signature.dims, strict=True))
    model = stablehlo_to_onnx(data, argument_names=signature.arguments, dim_names=dims)
    onnx.checker.check_model(oir.to_proto(model), full_check=True)
    return model


def agrees(function: Callable[..., Any], shape: str, sizes: Sequence[tuple[int, ...]], dtype: Any = np.float32) -> Any:
    model = lowered(function, shape, dtype=dtype)
    for size in sizes:
        x = (np.random.default_rng(0).standard_normal(size) * 9).astype(dtype)
        (found,), wanted = run(model, x), np.asarray(jax.jit(function)(x))
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max(initial=0))
    return model


def conv(x: Any, strides: int, padding: Any, kernel: Any = KERNEL, dilation: int = 1) -> Any:
    """A convolution and its bias, whose shape JAX computes by itself."""
    layout = ("NHWC", "HWIO", "NHWC")
    steps, holes = (strides, strides), (dilation, dilation)
    y = lax.conv_general_dilated(x, kernel, steps, padding, rhs_dilation=holes, dimension_numbers=layout)
    return y + np.arange(kernel.shape[-1], dtype=np.float32)


def pool(x: Any, start: Any, function: Any, size: int, stride: int, padding: Any) -> Any:
    return lax.reduce_window(x, start, function, (1, size, size, 1), (1, stride, stride, 1), padding)


@pytest.mark.parametrize(
    ("strides", "padding", "kernel", "dilation"),
    [
        (2, "SAME", 3, 1),
        (2, "SAME_LOWER", 3, 1),
        (2, "VALID", 3, 1),
        (3, "SAME", 2, 1),
        (2, "SAME", 1, 1),
        (2, "SAME", 3, 2),
        (2, ((1, 1), (0, 2)), 3, 1),
    ],
)
def test_convolution_with_strides(strides: int, padding: Any, kernel: int, dilation: int) -> None:
    weights = KERNEL[:kernel, :kernel]
    agrees(lambda x: conv(x, strides, padding, weights, dilation), IMAGE, IMAGES)


def test_same_padding_is_left_to_the_op() -> None:
    model = agrees(lambda x: conv(conv(x, 2, "SAME"), 2, "SAME", KERNEL.reshape(3, 3, 4, 2)), IMAGE, IMAGES)
    assert {"Pad", "Shape"}.isdisjoint(op_types(model))
    assert [str(size) for size in model.graph.outputs[0].shape or ()][1] == "h-floordiv(h+floordiv(h, 2), 2)"


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("start", "function", "dtype"),
    [(-np.inf, lax.max, np.float32), (0.0, lax.add, np.float32), (99, lax.min, np.int32)],
)
def test_pools(start: Any, function: Any, dtype: Any, padding: str) -> None:
    agrees(lambda x: pool(x, dtype(start), function, 3, 2, padding) + x.shape[1] // 2, IMAGE, IMAGES, dtype)


def test_the_gradient_of_a_pool() -> None:
    agrees(jax.grad(lambda x: pool(x, -np.inf, lax.max, 2, 2, "VALID").sum()), IMAGE, IMAGES)


@pytest.mark.parametrize(
    "up",
    [
        lambda y, x: jnp.repeat(jnp.repeat(y, 2, 1), 2, 2),
        lambda y, x: lax.conv_transpose(y, KERNEL.reshape(3, 3, 4, 2), (2, 2), "SAME"),
        lambda y, x: jax.image.resize(y, (*x.shape[:3], 4), "nearest"),
    ],
)
def test_a_net_that_halves_and_doubles_an_image(up: Any) -> None:
    agrees(
        lambda x: jnp.concatenate([up(conv(x, 2, "SAME"), x), x], -1), "b, 4*h, 4*w, 2", [(1, 8, 4, 2), (2, 4, 12, 2)]
    )


def windows(x: Any) -> Any:
    """Swin's windows of 4 by 4, after padding to multiples."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)))
    b, h, w, c = x.shape
    return x.reshape(b, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)


def test_windows_of_a_padded_image() -> None:
    agrees(windows, IMAGE, IMAGES)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[: x.shape[0] // 2],
        lambda x: x[x.shape[0] // 2 :],
        lambda x: x[x.shape[0] % 4 :].sum(0),
        lambda x: x[1::3] * 2,
        lambda x: x[::-1][: x.shape[0] // 3],
        lambda x: x[-3:],
        lambda x: x[:5] + x.shape[0] % 3,
        lambda x: x.sum() / jnp.maximum(x.shape[0] - 5, 1),
        lambda x: jnp.arange(x.shape[0] // 2, x.shape[0] // 2 + x.shape[0])[:, None] * x,
    ],
)
def test_slices_by_halves_and_remainders(function: Callable[..., Any]) -> None:
    agrees(function, "n, 2", [(7, 2), (8, 2), (1, 2)])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("function", [lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp])
def test_cumulative_ops_along_an_unknown_axis(function: Callable[..., Any], reverse: bool) -> None:
    agrees(lambda x: function(x / 9, 1, reverse=reverse), "b, t", [(2, 7), (3, 1), (1, 33)])


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
def test_cumulative_sums_of_integers(dtype: Any) -> None:
    agrees(lambda x: jnp.cumsum(x, 0), "t, 2", [(7, 2), (1, 2)], dtype)


def test_cumulative_extremes_keep_nan_and_the_signs_of_zeros() -> None:
    x = np.array([[-0.0, 0.0, -0.0, 1.0, np.nan, 2.0, -np.inf]], np.float32)
    (found,) = run(lowered(lambda x: lax.cummax(x, 1), "b, t"), x)
    wanted = np.asarray(lax.cummax(x, 1))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found[:, :4]), np.signbit(wanted[:, :4]))


def test_an_empty_axis_stays_empty() -> None:
    for function in (lax.cumsum, lax.cummax):
        (found,) = run(lowered(lambda x, f=function: f(x, 1), "b, t"), np.zeros((2, 0), np.float32))
        assert found.shape == (2, 0)
    (found,) = run(lowered(lambda x: conv(x, 2, "SAME"), IMAGE), np.zeros((0, 5, 4, 2), np.float32))
    assert found.shape == (0, 3, 2, 4)


@pytest.mark.parametrize(
    ("shape", "name", "fits", "not_"),
    [("2*b", "2*b", 4, 5), ("3*b + 1", "3*b+1", 7, 6), ("8*s", "8*s", 16, 12)],
)
def test_sizes_that_are_multiples_in_the_signature(shape: str, name: str, fits: int, not_: int) -> None:
    model = lowered(lambda x: x + x.shape[0], shape)
    assert [str(size) for size in model.graph.inputs[0].shape or ()] == [name]
    x = np.ones(fits, np.float32)
    np.testing.assert_array_equal(run(model, x)[0], x + fits)
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, np.ones(not_, np.float32))


def test_a_size_is_solved_with_the_help_of_another() -> None:
    model = lowered(lambda x, y: x[: y.shape[0]] * y, "a + 2*b", "a")
    assert [str(size) for value in model.graph.inputs for size in value.shape or ()] == ["a+2*b", "a"]
    x, y = np.arange(7, dtype=np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(run(model, x, y)[0], x[:3])
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, x, np.ones(4, np.float32))


def test_a_size_that_is_the_half_of_another() -> None:
    model = lowered(lambda x, y: x[: x.shape[0] // 2] + y, "n", "floordiv(n, 2)")
    assert [str(size) for value in model.graph.inputs for size in value.shape or ()] == ["n", "floordiv(n, 2)"]
    np.testing.assert_array_equal(run(model, np.ones(7, np.float32), np.ones(3, np.float32))[0], np.full(3, 2))
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, np.ones(7, np.float32), np.ones(1, np.float32))


def test_an_assertion_that_the_translation_relies_on_is_held() -> None:
    # Without it, the number of windows would be max(floordiv(h + 1, 2) - 1, 0).
    model = lowered(lambda x: pool(x, 0.0, lax.add, 3, 2, "VALID"), IMAGE)
    assert [str(size) for size in model.graph.outputs[0].shape or ()][1] == "floordiv(h+1, 2)-1"
    assert run(model, np.ones((1, 1, 3, 2), np.float32))[0].shape == (1, 0, 1, 2)
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, np.ones((1, 0, 3, 2), np.float32))
