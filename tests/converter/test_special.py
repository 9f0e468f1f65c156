"""Functions that are composed of others: how far from the truth, and where they have no digits to lose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare
from edges import agree, compare, floats, pairs

rng = np.random.default_rng(0)


def sample(low: float, high: float) -> np.ndarray:
    """Numbers of all sizes and both signs, and some evenly spread."""
    sizes = np.exp2(rng.uniform(np.log2(low), np.log2(high), 4000)) * rng.choice([-1, 1], 4000)
    return np.concatenate([sizes, rng.uniform(-min(high, 20), min(high, 20), 4000), [0.0, np.inf, -np.inf, np.nan]])


#: Function, the truth, sizes of its operands, units in the last place in float32 and in float64.
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[float, float], float, float]] = {
    "log_plus_one": (lax.log1p, np.log1p, (1e-30, 1e30), 4, 4),
    "exponential_minus_one": (lax.expm1, np.expm1, (1e-30, 80), 5, 4),
    "logistic": (lax.logistic, lambda x: 1 / (1 + np.exp(-x)), (1e-6, 80), 3, 3),
    "cbrt": (lax.cbrt, np.cbrt, (1e-30, 1e30), 2, 3),
    "sin": (lax.sin, np.sin, (1e-10, 1e5), 3, 4),
    "cos": (lax.cos, np.cos, (1e-10, 1e5), 3, 4),
    "tan": (lax.tan, np.tan, (1e-10, 1e5), 3, 7),
    "atan": (lax.atan, np.arctan, (1e-20, 1e20), 4, 2),
    "asin": (lax.asin, np.arcsin, (1e-20, 1), 5, 3),
    "acos": (lax.acos, np.arccos, (1e-20, 1), 5, 3),
    "sinh": (lax.sinh, np.sinh, (1e-20, 88), 3, 20),
    "cosh": (lax.cosh, np.cosh, (1e-20, 88), 3, 20),
    "asinh": (lax.asinh, np.arcsinh, (1e-20, 1e30), 3, 4),
    "acosh": (lax.acosh, np.arccosh, (1, 1e30), 3, 4),
    "atanh": (lax.atanh, np.arctanh, (1e-20, 1), 3, 4),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_functions_err_by_a_few_units_in_the_last_place(dtype: str) -> None:
    wide = np.float64 if dtype == "float32" else np.longdouble
    for name, (function, truth, sizes, *ulps) in FUNCTIONS.items():
        x = sample(*sizes).astype(dtype)
        with jax.enable_x64(True):
            (found,) = run(lower(function, x, symbolic=None), x)
        exact = truth(x.astype(wide)).astype(dtype)
        agree(found, exact, ulps[dtype == "float64"], (x,), name=f"{name} {dtype}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_angles_of_all_points(dtype: str) -> None:
    y, x = pairs(dtype)
    with jax.enable_x64(True):
        (found,) = run(lower(lax.atan2, y, x, symbolic=None), y, x)
    with np.errstate(all="ignore"):
        agree(found, np.arctan2(y, x), 4, (y, x))


def test_zeros_keep_their_sign() -> None:
    functions = [lax.log1p, lax.expm1, lax.cbrt, lax.sin, lax.tan, lax.atan, lax.asin, lax.sinh, lax.asinh, lax.atanh]
    x = np.array([0.0, -0.0] * 8, np.float32)
    compare(lambda x: [f(x) for f in functions], x)
    compare(lambda x: [f(x) for f in functions[:6]], x.astype(np.float64))


def test_the_angle_to_one_is_one_node() -> None:
    assert op_types(run_and_compare(jnp.arctan, np.array([[0.3, -2]], np.float32))) == {"Atan": 1}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_rounded_once(dtype: str) -> None:
    # XLA computes some of them in float16 itself.
    functions = [lax.tan, lax.log1p, lax.cbrt, lax.erf, lax.erfc, lax.erf_inv, lax.sinh, lax.cosh, lax.atan]
    compare(lambda x: [f(x) for f in functions], floats(dtype), dtype=dtype, ulps=1)


#: Chains of sums that lose digits in JAX as well: the error is that of JAX's own in a function's largest values.
STATISTICAL = {
    "erf": (lax.erf, (-6, 6), 1),
    "erfc": (lax.erfc, (-6, 6), 1),
    "erf_inv": (lax.erf_inv, (-1, 1), 2),
    "lgamma": (lax.lgamma, (-20, 20), 30),
    "digamma": (lax.digamma, (0.1, 20), 8),
    "bessel_i0e": (lax.bessel_i0e, (-20, 20), 2),
    "bessel_i1e": (lax.bessel_i1e, (-20, 20), 2),
    "polygamma": (lambda x: lax.polygamma(jnp.full_like(x, 2), jnp.abs(x) + 1), (0.1, 20), 2),
    "zeta": (lambda x: lax.zeta(jnp.abs(x) + 1.5, jnp.full_like(x, 1.5)), (0.1, 20), 2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_statistics(dtype: str) -> None:
    for function, (low, high), units in STATISTICAL.values():
        x = np.linspace(low, high, 1001).astype(dtype)
        with jax.enable_x64(True):
            wanted = np.asarray(jax.jit(function)(x))
            (found,) = run(lower(function, x, symbolic=None), x)
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(found[~finite], wanted[~finite])
        np.testing.assert_allclose(found[finite], wanted[finite], rtol=0, atol=units * 8 * np.finfo(dtype).eps)


def test_the_error_function_of_floats_is_onnx_own() -> None:
    x = np.linspace(-3, 3, 7, dtype=np.float32)[None]
    assert op_types(run_and_compare(lax.erf, x)) == {"Erf": 1}
    with jax.enable_x64(True):
        assert "Erf" not in op_types(run_and_compare(lax.erf, x.astype(np.float64), rtol=1e-15))


UNARY = {
    **{name: getattr(lax, name) for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "bessel_i1e")},
    **{name: getattr(lax, name) for name in ("cosh", "digamma", "erf", "erf_inv", "erfc", "lgamma", "sinh", "tan")},
    "square": jnp.square,
    "is_inf": jnp.isinf,
    "is_pos_inf": jnp.isposinf,
    "is_neg_inf": jnp.isneginf,
}


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32", "f64"])
def test_chlo_in_modules_of_other_frameworks(kind: str) -> None:
    dtype = {"f16": jnp.float16, "bf16": jnp.bfloat16, "f32": jnp.float32, "f64": jnp.float64}[kind]
    outer = {"bf16": "f32"}.get(kind, kind)
    lines = [f"%x = stablehlo.convert %0 : (tensor<?x4x{outer}>) -> tensor<?x4x{kind}>"]
    for name in UNARY:
        result = "i1" if name.startswith("is_") else kind
        lines.append(f"%{name}_ = chlo.{name} %x : tensor<?x4x{kind}> -> tensor<?x4x{result}>")
        lines.append(f"%{name} = stablehlo.convert %{name}_ : (tensor<?x4x{result}>) -> tensor<?x4xf64>")
    names, types = ", ".join(f"%{n}" for n in UNARY), ", ".join(["tensor<?x4xf64>"] * len(UNARY))
    body = "\n  ".join(lines)
    text = f"func.func public @main(%0: tensor<?x4x{outer}>) -> ({types}) {{\n  {body}\n  return {names} : {types}\n}}"
    x = np.array([[0.1, -0.3, 0.7, 0.9], [1.0, 1.3, -0.0, np.inf]])
    with jax.enable_x64(True):
        given = jnp.asarray(x).astype(dtype)
        expected = [np.asarray(jax.jit(f)(given).astype(jnp.float64)) for f in UNARY.values()]
        fed = np.asarray(given.astype({"f32": jnp.float32, "f64": jnp.float64, "f16": jnp.float16}[outer]))
    found = run(stablehlo_to_onnx(text), fed)
    rtol = {"f16": 2e-3, "bf16": 1e-2, "f32": 2e-6, "f64": 1e-14}[kind]
    for name, ours, wanted in zip(UNARY, found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=rtol, err_msg=name)


BROADCAST = """
func.func public @main(%a: tensor<?x4xf32>, %b: tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xi1>, tensor<?x4xf32>) {{
  %c = "chlo.constant_like"(%a) {{value = 2.5 : f32}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %0 = chlo.broadcast_maximum %a, %b {dims} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = chlo.broadcast_compare %b, %a {{comparison_direction = #chlo<comparison_direction LT>}}
    : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xi1>
  %2 = chlo.broadcast_next_after %b, %c : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = chlo.broadcast_select %1, %0, %2 : (tensor<?x4xi1>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0, %1, %3 : tensor<?x4xf32>, tensor<?x4xi1>, tensor<?x4xf32>
}}
"""


def test_chlo_broadcasts_as_numpy_does() -> None:
    a, b = rng.standard_normal((3, 4), np.float32), rng.standard_normal(4, np.float32)
    model = stablehlo_to_onnx(BROADCAST.format(dims="{broadcast_dimensions = array<i64: 1>}"))
    wider, less, chosen = run(model, a, b)
    np.testing.assert_array_equal(wider, np.maximum(a, b))
    np.testing.assert_array_equal(less, b < a)
    np.testing.assert_array_equal(chosen, np.where(b < a, np.maximum(a, b), np.nextafter(b, np.float32(2.5)) + 0 * a))
    with pytest.raises(LoweringError, match=r"broadcast_maximum at .*cannot be broadcast"):
        stablehlo_to_onnx(BROADCAST.format(dims="{broadcast_dimensions = array<i64: 0>}"))
