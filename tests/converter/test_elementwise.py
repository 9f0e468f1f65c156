"""Elementwise ops on floats, on all values of 16 bits and on the edges of the others, against JAX."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare
from edges import FLOATS, agree, compare, floats, pairs

EXACT = {
    "abs": lax.abs,
    "negate": lax.neg,
    "sign": lax.sign,
    "ceil": lax.ceil,
    "floor": lax.floor,
    "halves to even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "halves away from zero": lax.round,
    "square root": lax.sqrt,
    "is finite": lax.is_finite,
}

CLOSE = {
    "rsqrt": lax.rsqrt,
    "cbrt": lax.cbrt,
    "exp": lax.exp,
    "log": lax.log,
    "sin": lax.sin,
    "cos": lax.cos,
    "tan": lax.tan,
}


@pytest.mark.parametrize("dtype", FLOATS)
def test_ops_of_one_operand(dtype: str) -> None:
    x = floats(dtype)
    compare(lambda x: [f(x) for f in EXACT.values()], x, dtype=dtype)
    compare(lambda x: [f(x) for f in CLOSE.values()], x, dtype=dtype, ulps=1 if dtype[-2:] == "16" else 8)


BINARY = {
    "add": lax.add,
    "subtract": lax.sub,
    "multiply": lax.mul,
    "divide": lax.div,
    "remainder": lax.rem,
    "maximum": lax.max,
    "minimum": lax.min,
    # ONNX Runtime makes +0 of a -0 that is taken from the first choice: there is none here.
    "select": lambda a, b: lax.select(a < b, a + 1, b),
    "compare": lambda a, b: (a == b, a != b, a < b, a <= b, a > b, a >= b),
    "clamp": lambda a, b: (lax.clamp(jnp.array(-1, a.dtype), a, b), lax.clamp(b, a, jnp.array(1, a.dtype))),
}


@pytest.mark.parametrize("dtype", FLOATS)
def test_ops_of_two_operands_to_the_bit(dtype: str) -> None:
    compare(lambda a, b: [f(a, b) for f in BINARY.values()], *pairs(dtype), dtype=dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_and_angles(dtype: str) -> None:
    compare(lambda a, b: (lax.pow(a, b), lax.atan2(a, b)), *pairs(dtype), dtype=dtype, ulps=4)


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_with_constants_order_zeros(dtype: str) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        bounds = [jnp.array(c, x.dtype) for c in (0.0, -0.0, 1.0, np.inf, np.nan)]
        rows = [jnp.broadcast_to(jnp.array([0.0, -0.0], x.dtype), x.shape)]
        return [f(x, jnp.broadcast_to(c, x.shape)) for f in (lax.max, lax.min) for c in [*bounds, *rows]]

    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2], "float32" if dtype == "bfloat16" else dtype)
    compare(function, np.tile(special, (16, 1)).T.reshape(-1, 2), dtype=dtype)


def test_an_extreme_with_a_constant_is_one_node() -> None:
    x = np.array([[0, -0.0, np.nan, 3, -3]], np.float32)
    assert op_types(run_and_compare(jax.nn.relu, x)) == {"Max": 1}
    assert op_types(run_and_compare(lambda x: jnp.clip(x, 0, 6), x)) == {"Max": 1, "Min": 1}


ORDERED = """
func.func public @main(%a: tensor<{n}x{kind}>, %b: tensor<{n}x{kind}>) -> (tensor<{n}xi1>, tensor<{n}xi1>) {{
  %0 = stablehlo.compare LT, %a, %b, TOTALORDER : (tensor<{n}x{kind}>, tensor<{n}x{kind}>) -> tensor<{n}xi1>
  %1 = stablehlo.compare EQ, %a, %b, TOTALORDER : (tensor<{n}x{kind}>, tensor<{n}x{kind}>) -> tensor<{n}xi1>
  return %0, %1 : tensor<{n}xi1>, tensor<{n}xi1>
}}
"""


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_total_order(dtype: str) -> None:
    ascending = np.array([-np.nan, -np.inf, -1, -1e-4, -0.0, 0.0, 1e-4, 1, np.inf, np.nan], dtype)
    ranks = np.arange(ascending.size)
    a, b = (m.reshape(-1) for m in np.meshgrid(ascending, ascending))
    i, j = (m.reshape(-1) for m in np.meshgrid(ranks, ranks))
    model = stablehlo_to_onnx(ORDERED.format(n=a.size, kind=dtype.replace("float", "f")))
    less, equal = run(model, a, b)
    np.testing.assert_array_equal(less, i < j)
    np.testing.assert_array_equal(equal, i == j)


def test_truth_values() -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    names = ["max", "min", "eq", "ne", "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor"]
    compare(lambda a, b: [getattr(lax, n)(a, b) for n in names] + [~a, lax.select(a, b, ~b)], a, b)
    text = """func.func public @main(%a: tensor<4xi1>, %b: tensor<4xi1>) -> (tensor<4xi1>, tensor<4xi1>) {
      %0 = stablehlo.add %a, %b : tensor<4xi1>
      %1 = stablehlo.multiply %a, %b : tensor<4xi1>
      return %0, %1 : tensor<4xi1>, tensor<4xi1>
    }"""
    for found, wanted in zip(run(stablehlo_to_onnx(text), a, b), (a | b, a & b), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_an_unknown_batch_reaches_every_op() -> None:
    x = np.array([[0.3, -0.7, 1.9], [2.4, 0.1, -1.1]], np.float32)
    functions = [*EXACT.values(), *CLOSE.values(), jnp.arctan, jnp.log1p, jnp.expm1, lambda x: lax.atan2(x, x * x)]
    run_and_compare(lambda x: [f(x) for f in functions], x, rtol=4e-6)
    run_and_compare(lambda x, y: [f(x, y) for f in BINARY.values()], x, x[::-1] * 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_numbers_have_a_real_and_an_imaginary_part(dtype: str) -> None:
    kind = f"tensor<3x{dtype.replace('float', 'f')}>"
    text = f"""func.func public @main(%x: {kind}) -> ({kind}, {kind}) {{
      %0 = stablehlo.real %x : ({kind}) -> {kind}
      %1 = stablehlo.imag %x : ({kind}) -> {kind}
      return %0, %1 : {kind}, {kind}
    }}"""
    x = np.array([1, -0.0, np.nan], dtype)
    real, imaginary = run(stablehlo_to_onnx(text), x)
    agree(real, x, 0)
    agree(imaginary, np.zeros_like(x), 0)
