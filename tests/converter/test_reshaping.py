"""Reshape, broadcast, concatenate: static and computed sizes, empty ones, sizes as data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare
from edges import FLOATS, INTEGERS, compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 6), np.float32)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type(dtype: str) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        broadcast = lax.broadcast_in_dim(x, (2, 4, 3, 6), (1, 3))
        turned = lax.broadcast_in_dim(x[:, :1].T, (2, 5, 4), (1, 2))
        return [x.reshape(3, 8), x.T.reshape(-1), broadcast, turned, lax.concatenate([x], 1), lax.squeeze(x[:1], (0,))]

    compare(function, rng.integers(0, 2, (4, 6)).astype("float32" if dtype == "bfloat16" else dtype), dtype=dtype)


def test_empty_arrays() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        return [
            x.reshape(3, 0),
            x.reshape(2, 0, 5),
            x.T,
            lax.concatenate([x, x], 1),
            lax.broadcast(x, (2,)),
            x.reshape(0),
        ]

    compare(function, np.zeros((0, 3), np.float32))


def test_unknown_sizes_that_are_zero() -> None:
    """A size of 0 is 0, also where the operand's axis of that place has another size."""
    shape = export.symbolic_shape("a, b, c")
    exported = export.export(jax.jit(lambda x: (x.reshape(x.shape[1], x.shape[0], x.shape[2]), x.reshape(-1))))(
        jax.ShapeDtypeStruct(shape, np.float32)
    )
    model = stablehlo_to_onnx(exported.mlir_module_serialized)
    for optimized in (False, True):
        for a, b, c in ((0, 5, 0), (0, 5, 3), (4, 0, 3), (0, 0, 0), (2, 3, 4)):
            found = run(model, np.zeros((a, b, c), np.float32), optimized=optimized)
            assert [y.shape for y in found] == [(b, a, c), (a * b * c,)]


UNKNOWN: dict[str, Callable[[jax.Array], object]] = {
    "reshape": lambda x: (x.reshape(-1, 3, 8), x.reshape(-1), x.reshape(x.shape[0] * 2, 12), x[:, None]),
    "broadcast": lambda x: (jnp.broadcast_to(x[:, :1, :1], x.shape) + x, jnp.tile(x, (2, 1, 1))),
    "broadcast to the batch": lambda x: jnp.broadcast_to(x[:1], x.shape) * 2,
    "concatenate": lambda x: (
        lax.concatenate([x, x[:1], x[:, :, :]], 0),
        jnp.concatenate([x], 0),
        jnp.stack([x, x], 2),
    ),
    "sizes as data": lambda x: (x * x.shape[0], jnp.asarray(x.shape[0] * x.shape[1])),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_batch(name: str) -> None:
    run_and_compare(UNKNOWN[name], X, rtol=0)


def test_concatenating_nothing_to_an_array_makes_no_node() -> None:
    model = run_and_compare(lambda x: lax.concatenate([x[:0], x, x[3:]], 0), X, symbolic=None)
    assert op_types(model) == {"Identity": 1}


BROADCAST = """
func.func @main(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<2x?x4xf32> {
  %two = stablehlo.constant dense<[2]> : tensor<1xi32>
  %four = stablehlo.constant dense<[4]> : tensor<1xi32>
  %0 = stablehlo.get_dimension_size %y, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  %1 = stablehlo.reshape %0 : (tensor<i32>) -> tensor<1xi32>
  %2 = stablehlo.concatenate %two, %1, %four, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
  %3 = stablehlo.dynamic_broadcast_in_dim %x, %2, dims = [1, 2] : (tensor<?x4xf32>, tensor<3xi32>) -> tensor<2x?x4xf32>
  return %3 : tensor<2x?x4xf32>
}
"""


def test_a_size_that_may_be_one_or_all_is_broadcast() -> None:
    model = stablehlo_to_onnx(BROADCAST)
    y = np.zeros((3, 4), np.float32)
    for x in (X[0, :3, :4], X[0, :1, :4]):
        (found,) = run(model, x, y)
        np.testing.assert_array_equal(found, np.broadcast_to(x, (2, 3, 4)))


def test_dynamic_sizes_by_hand_are_one_clear_error() -> None:
    text = """
    func.func @main(%x: tensor<4xf32>, %n: tensor<i32>) -> tensor<?xf32> {
      %0 = stablehlo.set_dimension_size %x, %n, dim = 0 : (tensor<4xf32>, tensor<i32>)
        -> tensor<?xf32, #stablehlo.bounds<4>>
      %1 = stablehlo.add %0, %0 : tensor<?xf32, #stablehlo.bounds<4>>
      %2 = stablehlo.convert %1 : (tensor<?xf32, #stablehlo.bounds<4>>) -> tensor<?xf32>
      return %2 : tensor<?xf32>
    }"""
    with pytest.raises(LoweringError, match=r"stablehlo.set_dimension_size at .*expected a number up to that"):
        stablehlo_to_onnx(text)
