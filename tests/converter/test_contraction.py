"""dot_general in ONNX Runtime against JAX: every type, sizes of 0, rank 0, algorithms."""

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
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

EQUATIONS = {
    "batch": ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    "one matrix": ("bij,jk->bik", (2, 3, 4), (4, 5)),
    "two contracted axes": ("ijk,jkl->il", (3, 4, 2), (4, 2, 5)),
    "vector": ("ij,j->i", (3, 4), (4,)),
    "row and vector": ("j,jk->k", (4,), (4, 5)),
    "outer": ("i,j->ij", (3,), (4,)),
    "scalar": ("i,i->", (4,), (4,)),
    "scalars": (",->", (), ()),
    "nothing to sum": ("ij,jk->ik", (3, 0), (0, 4)),
    "nothing to sum in two axes": ("bijk,bjkl->bil", (2, 3, 4, 0), (2, 4, 0, 5)),
    "no rows": ("bij,bjk->bik", (2, 0, 4), (2, 4, 5)),
    "no batch": ("bij,bjk->bik", (0, 3, 4), (0, 4, 5)),
    "no rows of four axes": ("ab,cd->abcd", (2, 0), (3, 2)),
}


@pytest.fixture(autouse=True)
def wide_types() -> Iterator[None]:
    """Types of 64 bits in JAX."""
    with jax.enable_x64(True):
        yield


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """Over the whole range of an integer type, so that sums wrap around."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if kind.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(kind)
    limits = np.iinfo(kind)
    return np.asarray(rng.integers(limits.min, limits.max, shape, kind, endpoint=True))


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, "float32", "float64", "float16"])
def test_every_type(dtype: str) -> None:
    arrays = [numbers(dtype, *shape) for _, *shapes in EQUATIONS.values() for shape in shapes]

    def function(*arrays: jax.Array) -> list[jax.Array]:
        pairs = zip(EQUATIONS.values(), arrays[::2], arrays[1::2], strict=True)
        return [jnp.einsum(equation, a, b, preferred_element_type=dtype) for (equation, *_), a, b in pairs]

    run_and_compare(function, *arrays, symbolic=None, rtol={"float16": 2e-3, "float64": 1e-14}.get(dtype, 1e-6))


def test_wider_results() -> None:
    narrow, bytes_ = numbers("float32", 3, 40), numbers("int8", 3, 40)

    def function(x: jax.Array, n: jax.Array) -> list[jax.Array]:
        b16, f16 = x.astype(ml_dtypes.bfloat16), x.astype(np.float16)
        both = (((1,), (1,)), ((), ()))
        results = [
            lax.dot_general(b16, b16, both, preferred_element_type=np.float32),
            lax.dot_general(f16, f16, both, preferred_element_type=np.float32),
            lax.dot_general(x, x, both, preferred_element_type=np.float64),
            lax.dot_general(n, n, both, preferred_element_type=np.int32),
            lax.dot_general(n, n, both, preferred_element_type=np.int64),
        ]
        return [lax.dot_general(b16, b16, both).astype(np.float32), *results]

    model = lower(function, narrow, bytes_, symbolic=None)
    results = zip(run(model, narrow, bytes_), jax.jit(function)(narrow, bytes_), strict=True)
    for i, (found, wanted) in enumerate(results):
        # The first one is rounded to 8 digits.
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-2 if i == 0 else 1e-6, atol=1e-6)


def test_the_older_op() -> None:
    text = """
    func.func public @main(%x: tensor<3x4xf32>, %y: tensor<4x5xf32>, %z: tensor<4xf32>)
        -> (tensor<3x5xf32>, tensor<3xf32>) {
      %a = stablehlo.dot %x, %y : (tensor<3x4xf32>, tensor<4x5xf32>) -> tensor<3x5xf32>
      %b = stablehlo.dot %x, %z : (tensor<3x4xf32>, tensor<4xf32>) -> tensor<3xf32>
      return %a, %b : tensor<3x5xf32>, tensor<3xf32>
    }"""
    x, y, z = numbers("float32", 3, 4), numbers("float32", 4, 5), numbers("float32", 4)
    for found, wanted in zip(run(stablehlo_to_onnx(text), x, y, z), (x @ y, x @ z), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def algorithm_of(preset: Any, *arrays: np.ndarray) -> Any:
    return lower(lambda x, y: lax.dot(x, y, precision=preset), *arrays, symbolic=None)


@pytest.mark.parametrize("preset", ["F32_F32_F32", "BF16_BF16_F32_X3", "BF16_BF16_F32_X6", "F64_F64_F64"])
def test_algorithms_that_round_no_operand(preset: str) -> None:
    x, y = numbers("float32", 3, 64), numbers("float32", 64, 5)
    model = algorithm_of(lax.DotAlgorithmPreset[preset], x, y)
    np.testing.assert_allclose(run(model, x, y)[0], x.astype(np.float64) @ y, rtol=1e-5, atol=1e-6)
    assert ("Cast" in op_types(model)) == (preset == "F64_F64_F64")


def test_an_algorithm_that_rounds_its_operands_is_one_clear_error() -> None:
    with pytest.raises(LoweringError, match=r"stablehlo.dot_general at .*algorithm of precision bf16"):
        algorithm_of(lax.DotAlgorithmPreset.BF16_BF16_F32, numbers("float32", 3, 4), numbers("float32", 4, 5))


def test_integers_from_products_of_floats_are_one_clear_error() -> None:
    text = """
    func.func public @main(%x: tensor<3x4xf32>, %y: tensor<4x5xf32>) -> tensor<3x5xi32> {
      %a = stablehlo.dot %x, %y : (tensor<3x4xf32>, tensor<4x5xf32>) -> tensor<3x5xi32>
      return %a : tensor<3x5xi32>
    }"""
    with pytest.raises(LoweringError, match=r"stablehlo.dot_general at .*INT32 from products of floats"):
        stablehlo_to_onnx(text)


def test_products_with_weights_move_only_the_weights() -> None:
    """Einsums of rows and weights in other orders than MatMul's: a product and reshapes."""
    x, heads = numbers("float32", 2, 3, 4), numbers("float32", 2, 3, 2, 2)
    for equation, given, *shape in (
        ("oi,bti->bto", x, 5, 4),
        ("ihd,bti->bthd", x, 4, 2, 3),
        ("hdo,bthd->bto", heads, 2, 2, 5),
    ):
        weight = numbers("float32", *shape)

        def function(x: jax.Array, equation: str = equation, weight: np.ndarray = weight) -> jax.Array:
            operands = (x, weight) if equation.startswith("bt") else (weight, x)
            return jnp.tanh(jnp.einsum(equation, *operands))

        counts = op_types(run_and_compare(function, given))
        assert counts.pop("MatMul", 0) + counts.pop("Gemm", 0) == counts.pop("Tanh") == 1
        assert counts.get("Transpose", 0) == 0
        assert sum(counts.values()) <= 2


def test_a_vmapped_layer_moves_nothing() -> None:
    x, weight, bias = numbers("float32", 2, 3, 4), numbers("float32", 5, 4), numbers("float32", 5)
    layer = jax.vmap(jax.vmap(lambda row: jnp.tanh(jnp.asarray(weight) @ row + bias)))
    assert op_types(run_and_compare(layer, x)) == {"Reshape": 2, "Gemm": 1, "Tanh": 1}


def test_probabilities_times_values_leave_the_probabilities_as_they_are() -> None:
    p, v = numbers("float32", 2, 3, 4, 5), numbers("float32", 2, 5, 3, 6)
    model = run_and_compare(lambda p, v: jnp.einsum("bhts,bshd->bthd", p, v), p, v, symbolic=None)
    assert op_types(model) == {"MatMul": 1, "Transpose": 2}
    assert all(node.inputs[0] is not model.graph.inputs[0] for node in model.graph if node.op_type == "Transpose")
