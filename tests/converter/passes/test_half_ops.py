"""Ops on 16-bit floats that are widened around them: fused where nothing but the conversions sees float32."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run_and_compare

X = np.random.default_rng(0).normal(0, 2, (4, 6, 8)).astype(np.float16)
ROW = np.linspace(-1, 1, 8, dtype=np.float16)


def wide(function):
    return lambda x: function(x.astype(jnp.float32)).astype(x.dtype)


def gelu(x):
    return 0.5 * x * (1 + lax.erf(x * jnp.float32(0.5**0.5)))


def quotient(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (wide(jax.nn.softmax), {"Softmax": 1}),
        (wide(jax.nn.log_softmax), {"LogSoftmax": 1}),
        (wide(gelu), {"Gelu": 1}),
        (lambda x: wide(quotient)(x) * ROW + ROW, {"LayerNormalization": 1}),
        (lambda x: wide(quotient)(x), {"LayerNormalization": 1}),
    ],
    ids=["softmax", "log-softmax", "gelu", "layer norm", "layer norm without a scale"],
)
def test_no_conversions_stay_around_an_op_that_computes_in_float32(function, expected) -> None:
    model = run_and_compare(lambda x: function(x) + x, X, rtol=2e-3)

    assert {op: count for op, count in op_types(model).items() if op != "Add"} == expected


def test_a_maximum_is_taken_before_the_conversion() -> None:
    def floored(x):
        largest = lax.max(x.astype(jnp.float32), (x[..., :1] - jnp.float16(2)).astype(jnp.float32))
        return jax.nn.softmax(largest, -1).astype(x.dtype) + x

    model = run_and_compare(floored, X, rtol=2e-3)
    assert "Cast" not in op_types(model)


def test_float32_that_the_program_uses_stays() -> None:
    def used_twice(x):
        y = jax.nn.softmax(x.astype(jnp.float32), -1)
        return y.astype(x.dtype), y * 3

    counts = op_types(run_and_compare(used_twice, X))
    assert counts["Cast"] == 2
    model = lower(lambda x: jax.nn.softmax(x.astype(jnp.float32), -1), X)
    assert op_types(model) == {"Cast": 1, "Softmax": 1}


def test_another_type_of_16_bits_is_no_rounding_of_this_one() -> None:
    counts = op_types(lower(lambda x: jax.nn.softmax(x.astype(jnp.float32), -1).astype(jnp.bfloat16), X))
    assert counts == {"Cast": 2, "Softmax": 1}
