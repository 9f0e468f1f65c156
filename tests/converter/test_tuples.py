"""Tuples, which XLA writes in place of several results, and bodies of scalars applied to arrays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run
from edges import SPECIAL, agree
from text import compare_text

X = np.array([[3, -1, 3, np.inf, 0], [2, 2, -0.0, 0, 1]], np.float32)


def test_a_tuple_of_tuples_through_a_call() -> None:
    inner, outer = "tuple<tensor<2x5xf32>, tensor<i32>>", "tuple<tuple<tensor<2x5xf32>, tensor<i32>>, tensor<2x5xf32>>"
    text = f"""
    func.func @main(%x: tensor<2x5xf32>) -> (tensor<2x5xf32>, tensor<i32>, tensor<2x5xf32>) {{
      %n = stablehlo.constant dense<7> : tensor<i32>
      %a = stablehlo.tuple %x, %n : {inner}
      %b = call @f(%a) : ({inner}) -> {outer}
      %c = stablehlo.get_tuple_element %b[0] : ({outer}) -> {inner}
      %0 = stablehlo.get_tuple_element %c[0] : ({inner}) -> tensor<2x5xf32>
      %1 = stablehlo.get_tuple_element %c[1] : ({inner}) -> tensor<i32>
      %2 = stablehlo.get_tuple_element %b[1] : ({outer}) -> tensor<2x5xf32>
      return %0, %1, %2 : tensor<2x5xf32>, tensor<i32>, tensor<2x5xf32>
    }}
    func.func private @f(%t: {inner}) -> {outer} {{
      %0 = stablehlo.get_tuple_element %t[0] : ({inner}) -> tensor<2x5xf32>
      %1 = stablehlo.negate %0 : tensor<2x5xf32>
      %2 = stablehlo.tuple %t, %1 : {outer}
      return %2 : {outer}
    }}"""
    model = stablehlo_to_onnx(text)
    for found, wanted in zip(run(model, X), (X, np.int32(7), -X), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_an_entry_that_returns_a_tuple_has_its_parts_as_outputs() -> None:
    kind = "tuple<tensor<2x5xf32>, tensor<2x5xf32>>"
    text = f"""func.func @main(%x: tensor<2x5xf32>) -> {kind} {{
      %0 = stablehlo.abs %x : tensor<2x5xf32>
      %1 = stablehlo.tuple %x, %0 : {kind}
      return %1 : {kind}
    }}"""
    for found, wanted in zip(run(stablehlo_to_onnx(text), X), (X, np.abs(X)), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_tuple_as_input_is_refused() -> None:
    kind = "tuple<tensor<2xf32>, tensor<2xf32>>"
    text = f"""func.func @main(%x: {kind}) -> tensor<2xf32> {{
      %0 = stablehlo.get_tuple_element %x[0] : ({kind}) -> tensor<2xf32>
      return %0 : tensor<2xf32>
    }}"""
    with pytest.raises(
        LoweringError, match=r"argument arg0: type tuple<tensor<2xf32>, tensor<2xf32>>: ONNX has no equivalent"
    ):
        stablehlo_to_onnx(text)


TOP_K = """
func.func @main(%x: tensor<2x5xf32>) -> (tensor<2x3xf32>, tensor<2x3xi32>) {{
  %0 = stablehlo.custom_call @TopK(%x) {{called_computations = [@first]}} : (tensor<2x5xf32>) -> {kind}
  %1 = stablehlo.get_tuple_element %0[0] : ({kind}) -> tensor<2x3xf32>
  %2 = stablehlo.get_tuple_element %0[1] : ({kind}) -> tensor<2x3xi32>
  return %1, %2 : tensor<2x3xf32>, tensor<2x3xi32>
}}
func.func private @first(%a: tensor<f32>, %b: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>) -> tensor<i1> {{
  %0 = stablehlo.compare {comparison}
  return %0 : tensor<i1>
}}"""
KIND = "tuple<tensor<2x3xf32>, tensor<2x3xi32>>"
FLOAT, INTEGER = "(tensor<f32>, tensor<f32>) -> tensor<i1>", "(tensor<i32>, tensor<i32>) -> tensor<i1>"


@pytest.mark.parametrize(("direction", "sign"), [("GT", -1), ("LT", 1)])
@pytest.mark.parametrize("order", ["", ", TOTALORDER"])
def test_xla_top_k_in_both_orders(direction: str, sign: int, order: str) -> None:
    text = TOP_K.format(kind=KIND, comparison=f"{direction}, %a, %b{order} : {FLOAT}")
    keys = (sign * X, sign * np.copysign(1, X)) if order else (sign * X,)
    places = np.lexsort([np.where(X == 0, key, 0) if i else key for i, key in enumerate(keys)][::-1])[:, :3]
    values, found = run(stablehlo_to_onnx(text), X)
    agree(found, places.astype(np.int32), 0)
    agree(values, np.take_along_axis(X, places, 1), 0)


def test_xla_top_k_without_an_order_of_elements_is_refused() -> None:
    text = TOP_K.format(kind=KIND, comparison=f"GT, %i, %j : {INTEGER}")
    with pytest.raises(LoweringError, match=r"custom_call at .*: comparator: expected one that orders by the elements"):
        stablehlo_to_onnx(text)


def test_map_of_a_body_of_several_ops() -> None:
    text = f"""func.func @main(%x: tensor<{len(SPECIAL)}xf32>) -> tensor<{len(SPECIAL)}xi1> {{
      %0 = "stablehlo.map"(%x, %x) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %c = stablehlo.constant dense<2.0> : tensor<f32>
        %1 = stablehlo.multiply %a, %c : tensor<f32>
        %2 = stablehlo.compare GE, %1, %b : {FLOAT}
        stablehlo.return %2 : tensor<i1>
      }}) {{dimensions = array<i64: 0>}} : (tensor<{len(SPECIAL)}xf32>, tensor<{len(SPECIAL)}xf32>)
        -> tensor<{len(SPECIAL)}xi1>
      return %0 : tensor<{len(SPECIAL)}xi1>
    }}"""
    compare_text(text, SPECIAL.astype(np.float32))


def test_map_to_a_constant_fills_the_array() -> None:
    text = """func.func @forward(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
      %0 = "stablehlo.map"(%x) ({ ^bb0(%a: tensor<f32>):
        %1 = stablehlo.constant dense<2.0> : tensor<f32>
        stablehlo.return %1 : tensor<f32>
      }) {dimensions = array<i64: 0, 1>} : (tensor<?x2xf32>) -> tensor<?x2xf32>
      return %0 : tensor<?x2xf32>
    }"""
    model = stablehlo_to_onnx(text)
    assert set(op_types(model)) <= {"Shape", "Concat", "Expand"}
    np.testing.assert_array_equal(run(model, np.zeros((3, 2), np.float32))[0], np.full((3, 2), 2))
