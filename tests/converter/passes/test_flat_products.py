"""Products over the last axis need no reshapes where ONNX Runtime multiplies any number of axes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed
from test_bias_gelu import linear

#: Another kernel adds in another order.
RTOL = 2e-6


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_product_of_many_axes(seed: int, bias: bool) -> None:
    sketch = Sketch(seed)
    x = sketch.x(*(sketch.size() for _ in range(sketch.size(2, 5))))
    y = linear(sketch, x, 6, bias=bias)
    y = sketch.typed("Softmax", [y], sketch.shape(y), axis=-1)
    counts = op_types(transformed(sketch, y, rtol=RTOL, target="onnxruntime"))
    assert counts == {"FusedMatMul": 1, "Softmax": 1} | ({"Add": 1} if bias else {})


@pytest.mark.parametrize("seed", range(8))
def test_rows_that_go_elsewhere_are_moved_once(seed: int) -> None:
    sketch = Sketch(seed)
    a, b, inner = sketch.size(), sketch.size(), sketch.size()
    x = sketch.x(a * b, inner)
    batch = sketch.shape(x)[0]
    ys = [sketch.reshape(linear(sketch, x, 6, bias=sketch.coin()), (batch, a, b, 6)) for _ in range(2)]
    outputs = [sketch.typed("Softmax", [y], sketch.shape(y), axis=-2) for y in ys]
    counts = op_types(transformed(sketch, *outputs, rtol=RTOL, target="onnxruntime"))
    assert counts["FusedMatMul"] == 2
    assert counts["Reshape"] == 1


def test_rows_stay_with_gemm() -> None:
    sketch = Sketch(0)
    counts = op_types(transformed(sketch, linear(sketch, sketch.x(5), 6), rtol=RTOL, target="onnxruntime"))
    assert counts == {"Gemm": 1}


def test_a_reshape_that_cuts_columns_is_kept() -> None:
    sketch = Sketch(0)
    y = linear(sketch, sketch.x(4, 5), 6)
    y = sketch.reshape(y, (sketch.shape(y)[0], 4, 2, 3))
    counts = op_types(transformed(sketch, y, rtol=RTOL, target="onnxruntime"))
    assert counts["FusedMatMul"] == counts["Reshape"] == 1


@pytest.mark.parametrize(("rows", "depth", "op_type"), [(4096, 5, "Gemm"), (4095, 5, "Add"), (4096, 129, "Add")])
def test_gemm_adds_the_bias_of_many_short_rows(rows: int, depth: int, op_type: str) -> None:
    sketch = Sketch(0)
    y = linear(sketch, sketch.x(rows, depth), 3)
    counts = op_types(
        transformed(sketch, sketch.typed("Softmax", [y], sketch.shape(y)), rtol=1e-5, target="onnxruntime")
    )
    assert {"Gemm", "Add"} & set(counts) == {op_type}
    assert ("FusedMatMul" in counts) == (op_type == "Add")
