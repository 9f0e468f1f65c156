"""Every bit of constants of 8-bit floats and bfloat16."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from jax.extend.mlir import ir

from swift_export.converter.mlir import constant_array
from swift_export.formats.float_bits import float_bits
from swift_export.formats.mlir_context import new_context
from swift_export.formats.stablehlo_module import read_module, walk

KINDS = [
    ("bf16", np.uint16, ml_dtypes.bfloat16),
    ("f8E4M3FN", np.uint8, ml_dtypes.float8_e4m3fn),
    ("f8E5M2", np.uint8, ml_dtypes.float8_e5m2),
]


@pytest.mark.parametrize(("kind", "bits", "dtype"), KINDS)
def test_each_pattern_is_read(kind: str, bits: type, dtype: type) -> None:
    every = np.arange(np.iinfo(bits).max + 1).astype(bits).reshape(2, -1)
    with new_context(), ir.Location.unknown():
        shape = "x".join(map(str, every.shape))
        attribute = ir.DenseElementsAttr.get(every, type=ir.Type.parse(f"tensor<{shape}x{kind}>"))
        found = float_bits(attribute)
        np.testing.assert_array_equal(found.view(bits), every)
        elements = constant_array(attribute.maybe_downcast())
        np.testing.assert_array_equal(elements.astype(np.float32), every.view(dtype).astype(np.float32))


@pytest.mark.parametrize("elements", ["dense<> : tensor<0x3xbf16>", "dense<[[1.5], [-2.0]]> : tensor<2x1xbf16>"])
def test_small_ones_of_a_module(elements: str) -> None:
    kind = elements.partition(" : ")[2]
    text = f"func.func @main() -> {kind} {{ %0 = stablehlo.constant {elements}\n return %0 : {kind} }}"
    module = read_module(text)
    (constant,) = (op for op in walk(module.operation) if op.operation.name == "stablehlo.constant")
    found = constant_array(constant.attributes["value"])
    assert found.dtype == ml_dtypes.bfloat16
    assert found.astype(float).tolist() == ([] if "0x3" in kind else [[1.5], [-2.0]])
    assert list(found.shape) == constant.attributes["value"].type.shape
