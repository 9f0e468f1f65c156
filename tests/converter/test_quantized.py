"""Uniform quantized types, against the specification's formulas."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from swift_export.formats.quantized import know_quantized_types

sys.path.insert(0, str(Path(__file__).parent))
from compare import run

Q = "!quant.uniform<i8:f32, 0.05:3>"
X = np.concatenate([np.linspace(-8, 8, 643), [0.025, 0.075, -0.025, 1e9, -1e9, np.inf]]).astype(np.float32)


def quantized(x: np.ndarray, scale: np.ndarray | float, zero: np.ndarray | int) -> np.ndarray:
    shifted = x / np.asarray(scale, np.float32) + np.asarray(zero, np.float32)
    return np.round(np.clip(shifted, -128, 127)).astype(np.int8)


def dequantized(x: np.ndarray, scale: np.ndarray | float, zero: np.ndarray | int) -> np.ndarray:
    return (x.astype(np.int32) - zero).astype(np.float32) * np.asarray(scale, np.float32)


def test_quantize_and_dequantize_one_scale() -> None:
    text = f"""func.func @main(%x: tensor<?xf32>) -> (tensor<?x{Q}>, tensor<?xf32>) {{
      %0 = stablehlo.uniform_quantize %x : (tensor<?xf32>) -> tensor<?x{Q}>
      %1 = stablehlo.uniform_dequantize %0 : (tensor<?x{Q}>) -> tensor<?xf32>
      return %0, %1 : tensor<?x{Q}>, tensor<?xf32>
    }}"""
    whole, real = run(stablehlo_to_onnx(text), X)
    np.testing.assert_array_equal(whole, quantized(X, 0.05, 3))
    np.testing.assert_array_equal(real, dequantized(whole, 0.05, 3))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scale_for_each_channel(axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 3)).astype(np.float32) * 9
    q = f"!quant.uniform<i8:f32:{axis}, {{0.05:3, 0.1, 0.2:-1}}>"
    text = f"""func.func @main(%x: tensor<3x3x3xf32>) -> tensor<3x3x3xf32> {{
      %0 = stablehlo.uniform_quantize %x : (tensor<3x3x3xf32>) -> tensor<3x3x3x{q}>
      %1 = stablehlo.uniform_dequantize %0 : (tensor<3x3x3x{q}>) -> tensor<3x3x3xf32>
      return %1 : tensor<3x3x3xf32>
    }}"""
    shape = [-1 if a == axis else 1 for a in range(3)]
    scale, zero = np.array([0.05, 0.1, 0.2], np.float32).reshape(shape), np.array([3, 0, -1]).reshape(shape)
    (found,) = run(stablehlo_to_onnx(text), x)
    np.testing.assert_array_equal(found, dequantized(quantized(x, scale, zero), scale, zero))


def test_a_product_and_a_sum_of_quantized_values() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-9, 9, (4, 5)).astype(np.int8)
    w, wide = "!quant.uniform<i8:f32, 0.1>", "!quant.uniform<i32:f32, 0.005>"
    text = f"""func.func @main(%x: tensor<2x4x{Q}>) -> tensor<2x5xf32> {{
      %w = stablehlo.constant() {{value = dense<{weights.tolist()}> : tensor<4x5xi8>}} : () -> tensor<4x5x{w}>
      %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
        : (tensor<2x4x{Q}>, tensor<4x5x{w}>) -> tensor<2x5x{wide}>
      %1 = stablehlo.uniform_quantize %0 : (tensor<2x5x{wide}>) -> tensor<2x5x{Q}>
      %2 = stablehlo.add %1, %1 : tensor<2x5x{Q}>
      %3 = stablehlo.uniform_dequantize %2 : (tensor<2x5x{Q}>) -> tensor<2x5xf32>
      return %3 : tensor<2x5xf32>
    }}"""
    x = rng.integers(-128, 128, (2, 4)).astype(np.int8)
    product = dequantized(x, 0.05, 3).astype(np.float64) @ dequantized(weights, 0.1, 0).astype(np.float64)
    (found,) = run(stablehlo_to_onnx(text), x)
    expected = np.clip(2 * product, (-128 - 3) * 0.05, (127 - 3) * 0.05)
    np.testing.assert_allclose(found, expected, atol=0.05 + 1e-6)
    assert len(np.unique(found)) > 4


@pytest.mark.parametrize("portable", [False, True])
def test_bytecode(portable: bool) -> None:
    from jax._src.interpreters.mlir import make_ir_context, module_to_bytecode
    from jax.extend.mlir import ir
    from jax.extend.mlir.dialects import stablehlo

    text = f"""func.func @main(%x: tensor<4x{Q}>) -> tensor<4xf32> {{
      %0 = stablehlo.uniform_dequantize %x : (tensor<4x{Q}>) -> tensor<4xf32>
      return %0 : tensor<4xf32>
    }}"""
    context = make_ir_context()
    know_quantized_types(context)
    module = ir.Module.parse(text, context)
    write = stablehlo.serialize_portable_artifact
    data = write(module, stablehlo.get_minimum_version()) if portable else module_to_bytecode(module)
    x = np.array([-128, 0, 3, 127], np.int8)
    np.testing.assert_array_equal(run(stablehlo_to_onnx(data), x)[0], dequantized(x, 0.05, 3))


def test_an_op_without_arithmetic_on_quantized_values_is_one_line() -> None:
    text = f"""func.func @main(%x: tensor<4x{Q}>) -> tensor<4x{Q}> {{
      %0 = stablehlo.custom_call @f(%x) : (tensor<4x{Q}>) -> tensor<4x{Q}>
      return %0 : tensor<4x{Q}>
    }}"""
    with pytest.raises(LoweringError) as caught:
        stablehlo_to_onnx(text)
    assert "\n" not in str(caught.value)
    assert "custom_call" in str(caught.value)
