"""Sizes that are arguments or results of the program: the file computes with them, and refuses impossible ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import run


def main(arguments: str, result: str, *lines: str) -> str:
    return f"func.func @main({arguments}) -> {result} {{\n" + "\n".join(lines) + f"\nreturn %r : {result}\n}}"


IOTA = main(
    "%n: tensor<i32>",
    "tensor<?xi32>",
    "%s = stablehlo.reshape %n : (tensor<i32>) -> tensor<1xi32>",
    "%r = stablehlo.dynamic_iota %s, dim = 0 : (tensor<1xi32>) -> tensor<?xi32>",
)
#: Rows and their number, which two ops read.
ROWS = main(
    "%n: tensor<i32>, %x: tensor<1x3xf32>",
    "tensor<?x3xf32>",
    "%c = stablehlo.constant dense<3> : tensor<1xi32>",
    "%m = stablehlo.multiply %n, %n : tensor<i32>",
    "%s = stablehlo.reshape %m : (tensor<i32>) -> tensor<1xi32>",
    "%t = stablehlo.concatenate %s, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>",
    "%a = stablehlo.dynamic_broadcast_in_dim %x, %t, dims = [0, 1] : "
    "(tensor<1x3xf32>, tensor<2xi32>) -> tensor<?x3xf32>",
    "%b = stablehlo.dynamic_iota %t, dim = 0 : (tensor<2xi32>) -> tensor<?x3xf32>",
    "%r = stablehlo.add %a, %b : tensor<?x3xf32>",
)
RESHAPE = main(
    "%s: tensor<2xi64>, %x: tensor<?xf32>",
    "tensor<?x?xf32>",
    "%r = stablehlo.dynamic_reshape %x, %s : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32>",
)
PAD = main(
    "%n: tensor<1xi64>, %x: tensor<?xf32>",
    "tensor<?xf32>",
    "%z = stablehlo.constant dense<0> : tensor<1xi64>",
    "%f = stablehlo.constant dense<7.0> : tensor<f32>",
    "%r = stablehlo.dynamic_pad %x, %f, %n, %z, %z : (tensor<?xf32>, tensor<f32>, tensor<1xi64>, tensor<1xi64>, "
    "tensor<1xi64>) -> tensor<?xf32>",
)
BROADCAST = main(
    "%n: tensor<1xi64>, %x: tensor<?xf32>",
    "tensor<?xf32>",
    "%r = stablehlo.dynamic_broadcast_in_dim %x, %n, dims = [0] : (tensor<?xf32>, tensor<1xi64>) -> tensor<?xf32>",
)
THREE = np.arange(3, dtype=np.float32)


def found(text: str, *inputs: object) -> np.ndarray:
    names = ["n", "x"][: len(inputs)]
    return run(stablehlo_to_onnx(text, argument_names=names), *[np.asarray(value) for value in inputs])[0]


@pytest.mark.parametrize(
    ("text", "inputs", "wanted"),
    [
        (IOTA, [np.int32(4)], [0, 1, 2, 3]),
        (IOTA, [np.int32(0)], []),
        (ROWS, [np.int32(2), THREE[None]], THREE + np.arange(4)[:, None]),
        (RESHAPE, [[2, 3], np.arange(6, dtype=np.float32)], [[0, 1, 2], [3, 4, 5]]),
        (PAD, [[2], THREE], [7, 7, 0, 1, 2]),
        (PAD, [[0], THREE], THREE),
        (PAD, [[-2], THREE], [2]),
        (BROADCAST, [[3], THREE], THREE),
        (BROADCAST, [[3], THREE[1:2]], [1, 1, 1]),
        (BROADCAST, [[0], THREE[:1]], []),
    ],
)
def test_sizes_from_data(text: str, inputs: Sequence[object], wanted: object) -> None:
    np.testing.assert_array_equal(found(text, *inputs), wanted)


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        (IOTA, [np.int32(-1)]),
        (RESHAPE, [[2, -1], np.arange(6, dtype=np.float32)]),
        (RESHAPE, [[2, 2], np.arange(6, dtype=np.float32)]),
        # ONNX's Expand would keep the three elements.
        (BROADCAST, [[1], THREE]),
        (BROADCAST, [[4], THREE]),
    ],
)
def test_impossible_sizes_stop_the_run(text: str, inputs: Sequence[object]) -> None:
    with pytest.raises(Exception, match=r"out of data bounds|cannot be reshaped|invalid expand shape"):
        found(text, *inputs)


def test_two_computed_sizes_are_never_taken_for_equal() -> None:
    text = main(
        "%n: tensor<1xi32>, %m: tensor<1xi32>",
        "tensor<?xi32>",
        "%a = stablehlo.dynamic_iota %n, dim = 0 : (tensor<1xi32>) -> tensor<?xi32>",
        "%b = stablehlo.dynamic_iota %m, dim = 0 : (tensor<1xi32>) -> tensor<?xi32>",
        "%r = stablehlo.add %a, %b : tensor<?xi32>",
    )
    with pytest.raises(LoweringError, match="cannot be broadcast together"):
        stablehlo_to_onnx(text, argument_names=["n", "m"])


def test_an_unknown_size_never_takes_a_given_name() -> None:
    model = stablehlo_to_onnx(ROWS, argument_names=["n", "x"])
    assert [str(size) for size in model.graph.outputs[0].shape or ()] == ["unknown_1", "3"]
    named = stablehlo_to_onnx(BROADCAST, argument_names=["n", "x"], dim_names={"x": ["unknown_1"]})
    assert [str(size) for size in named.graph.outputs[0].shape or ()] == ["unknown_2"]
