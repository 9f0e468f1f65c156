"""Constants in a module's resources."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from swift_export.formats.stablehlo_module import read_module

MODULE = """func.func @main() -> tensor<{kind}> {{
  %0 = stablehlo.constant dense_resource<{name}> : tensor<{kind}>
  return %0 : tensor<{kind}>
}}
{{-#
  dialect_resources: {{ builtin: {{ other: "0x0400000000", w: "0x04000000{digits}", "a b": "0x04000000{digits}" }} }}
#-}}"""


@pytest.mark.parametrize(
    ("kind", "elements"),
    [
        ("2x2xf32", np.array([[1, -2], [np.nan, np.inf]], np.float32)),
        ("3xf64", np.array([1e-300, 2, -0.0])),
        ("3xi1", np.array([True, False, True])),
        ("2xi64", np.array([-1, 2**40])),
        ("3xui16", np.array([1, 2, 65535], np.uint16)),
        ("1x1xf16", np.array([[0.5]], np.float16)),
        ("3xbf16", np.array([0.5, np.inf, -1], ml_dtypes.bfloat16)),
    ],
)
@pytest.mark.parametrize(("name", "in_bytecode"), [("w", False), ('"a b"', False), ("w", True)])
def test_elements_in_resources(kind: str, elements: np.ndarray, name: str, in_bytecode: bool) -> None:
    text = MODULE.format(kind=kind, name=name, digits=elements.tobytes().hex().upper())
    if in_bytecode:
        from jax._src.interpreters.mlir import make_ir_context, module_to_bytecode
        from jax.extend.mlir import ir

        source = module_to_bytecode(ir.Module.parse(text, make_ir_context()))
    else:
        source = text
    value, *_ = stablehlo_to_onnx(source).graph.initializers.values()
    assert value.const_value is not None
    found = value.const_value.numpy()
    assert found.dtype == elements.dtype
    assert np.broadcast_to(found, elements.shape).tobytes() == elements.tobytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w", r"constant dense_resource<w> : tensor<2xf32>: expected 8 bytes, found 4"),
        ("absent", r"constant dense_resource<absent> : tensor<2xf32>: expected 8 bytes, found none"),
    ],
)
def test_elements_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        read_module(MODULE.format(kind="2xf32", name=name, digits="00000000"))


def test_an_entry_of_another_name() -> None:
    """A called function is no entry, nor is a private one."""
    text = """
    func.func @relu(%x: tensor<2xf32>) -> tensor<2xf32> {
      %0 = stablehlo.abs %x : tensor<2xf32>
      return %0 : tensor<2xf32>
    }
    func.func @forward(%x: tensor<2xf32>) -> tensor<2xf32> {
      %0 = call @relu(%x) : (tensor<2xf32>) -> tensor<2xf32>
      return %0 : tensor<2xf32>
    }
    func.func private @unused(%x: tensor<2xf32>) -> tensor<2xf32> {
      return %x : tensor<2xf32>
    }"""
    session = onnxruntime.InferenceSession(oir.to_proto(stablehlo_to_onnx(text)).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: np.array([-1, 2], np.float32)})
    np.testing.assert_array_equal(found, [1, 2])
