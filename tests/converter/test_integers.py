"""Integers of all types against JAX: what wraps around, what is divided by zero, what is shifted past the width."""

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
from edges import INTEGERS, compare, integer_pairs

BINARY = {
    "add": lax.add,
    "subtract": lax.sub,
    "multiply": lax.mul,
    "divide": lax.div,
    "remainder": lax.rem,
    "maximum": lax.max,
    "minimum": lax.min,
    "and": lax.bitwise_and,
    "or": lax.bitwise_or,
    "xor": lax.bitwise_xor,
    "shift left": lax.shift_left,
    "shift right": lax.shift_right_logical,
    "shift right, signed": lax.shift_right_arithmetic,
    "select": lambda a, b: lax.select(a < b, a, b),
    "compare": lambda a, b: (a == b, a != b, a < b, a <= b, a > b, a >= b),
    "clamp": lambda a, b: lax.clamp(jnp.array(3, a.dtype), a, b),
}
UNARY = {
    "negate": lax.neg,
    "sign": lax.sign,
    "not": lax.bitwise_not,
    "bits that are set": lax.population_count,
    "leading zeros": lax.clz,
    "shifts by constants": lambda x: (x << 3, x >> 3, lax.shift_right_logical(x, jnp.full_like(x, 100))),
    "division by constants": lambda x: (x // 7, x % 7, lax.div(x, jnp.zeros_like(x)), lax.rem(x, jnp.zeros_like(x))),
    "powers": lambda x: (lax.integer_pow(x, 3), lax.integer_pow(x, 6)),
}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype: str) -> None:
    a, b = integer_pairs(dtype)
    compare(lambda a, b: [f(a, b) for f in BINARY.values()] + [f(a) for f in UNARY.values()], a, b)
    if dtype.startswith("int"):
        compare(lambda a: (lax.abs(a), lax.div(a, jnp.full_like(a, -1))), a)


POWER = """
func.func public @main(%a: tensor<{n}x{kind}>, %b: tensor<{n}x{kind}>) -> (tensor<{n}x{kind}>, tensor<{n}x{kind}>) {{
  %c = stablehlo.constant dense<5> : tensor<{n}x{kind}>
  %0 = stablehlo.power %a, %b : tensor<{n}x{kind}>
  %1 = stablehlo.power %a, %c : tensor<{n}x{kind}>
  return %0, %1 : tensor<{n}x{kind}>, tensor<{n}x{kind}>
}}
"""


def integer_power(a: int, exponent: int) -> int:
    """The inverse of 1 and -1 is whole; that of others is rounded to 0, and so is that of 0."""
    if exponent >= 0:
        return a**exponent
    return {1: 1, -1: (-1) ** -exponent}.get(a, 0)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32"])
def test_powers_of_integers(dtype: str) -> None:
    ends = np.iinfo(dtype)
    bases = np.array([0, 1, 2, 3, 7, ends.max, *([-1, -2, -7, ends.min] if ends.min else [])], dtype)
    exponents = np.array([0, 1, 2, 3, 31, 64, 127, *([-1, -2, -3, ends.min] if ends.min else [])], dtype)
    a, b = (m.reshape(-1) for m in np.meshgrid(bases, exponents))
    kind = dtype.replace("uint", "ui").replace("int", "i") if dtype[0] == "u" else dtype.replace("int", "i")
    results = run(stablehlo_to_onnx(POWER.format(n=a.size, kind=kind)), a, b)
    for found, powers in zip(results, (b, np.full_like(b, 5)), strict=True):
        exact = [integer_power(int(x), int(y)) % 2**ends.bits for x, y in zip(a, powers, strict=True)]
        np.testing.assert_array_equal(found, np.array(exact, np.uint64).astype(dtype))


def test_constants_need_no_guards() -> None:
    x = np.arange(-6, 6, dtype=np.int32)[None]
    assert op_types(run_and_compare(lambda x: lax.div(x, jnp.full_like(x, 3)), x)) == {"Div": 1}
    assert op_types(run_and_compare(lambda x: x << 4, x)) == {"Cast": 3, "BitShift": 1}


def test_an_unknown_batch_reaches_every_op() -> None:
    a = np.arange(-6, 6, dtype=np.int32).reshape(2, 6)

    def function(a: jax.Array, b: jax.Array) -> list[jax.Array]:
        return [f(a, b) for f in BINARY.values()] + [f(a) for f in UNARY.values()]

    run_and_compare(function, a, a[::-1] + 1)


KNOWN = """
func.func public @main(%x: tensor<?x4xf32>) -> tensor<{kind}> {{
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %four = stablehlo.constant dense<4> : tensor<i32>
  %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  %m = stablehlo.multiply %n, %four : tensor<i32>
  {lines}
  return %y : tensor<{kind}>
}}
"""

SIZES = {
    "a size is not negative": (
        "%y = stablehlo.compare LT, %n, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>", "i1", {}, False
    ),
    "a size may be zero": (
        "%y = stablehlo.compare GT, %n, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>", "i1", {"Greater"}, True
    ),
    "more than a size": (
        "%k = stablehlo.add %n, %one : tensor<i32>\n"
        "%y = stablehlo.compare GT, %k, %n : (tensor<i32>, tensor<i32>) -> tensor<i1>", "i1", {}, True
    ),
    "two sizes": (
        "%y = stablehlo.compare EQ, %n, %four : (tensor<i32>, tensor<i32>) -> tensor<i1>", "i1", {"Shape"}, False
    ),
    "a multiple leaves nothing": ("%y = stablehlo.remainder %m, %four : tensor<i32>", "i32", {}, 0),
    "a size may leave something": ("%y = stablehlo.remainder %n, %four : tensor<i32>", "i32", {"Div"}, 3),
    "an index from the end": (
        "%i = stablehlo.subtract %n, %one : tensor<i32>\n"
        "%s = stablehlo.negate %one : tensor<i32>\n"
        "%b = stablehlo.compare LT, %s, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>\n"
        "%y = stablehlo.select %b, %n, %s : tensor<i1>, tensor<i32>", "i32", {"Shape"}, 3
    ),
    "the larger of unknown ones": ("%y = stablehlo.maximum %n, %four : tensor<i32>", "i32", {"Where"}, 4),
    "clamped": ("%y = stablehlo.clamp %zero, %n, %m : tensor<i32>", "i32", {"Shape"}, 3),
    "conditions": (
        "%a = stablehlo.compare GE, %n, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>\n"
        "%b = stablehlo.not %a : tensor<i1>\n"
        "%c = stablehlo.or %a, %b : tensor<i1>\n"
        "%y = stablehlo.convert %c : (tensor<i1>) -> tensor<i32>", "i32", {}, 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_what_follows_from_a_size_is_known_and_nothing_else(name: str) -> None:
    lines, kind, needed, expected = SIZES[name]
    model = stablehlo_to_onnx(KNOWN.format(lines=lines, kind=kind))
    (found,) = run(model, np.zeros((3, 4), np.float32))
    assert found == expected
    assert set(needed) <= set(op_types(model))
    if not needed:
        assert set(op_types(model)) <= {"Identity"}
