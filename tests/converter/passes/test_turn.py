"""Products of transposes are turned where a transpose goes, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: The same sums of at most 7 products.
RTOL = 1e-6


def swapped(sketch: Sketch, x: oir.Value) -> oir.Value:
    rank = len(sketch.shape(x))
    return sketch.transpose(x, [*range(rank - 2), rank - 1, rank - 2])


@pytest.mark.parametrize("seed", range(12))
def test_batched_products_are_turned(seed: int) -> None:
    sketch = Sketch(seed)
    front, rows, inner, columns = [sketch.size() for _ in range(sketch.size(0, 3))], *(sketch.size() for _ in range(3))
    a = sketch.x(*front, inner, rows)
    b = sketch.typed("Tanh", [x := sketch.x(*front, columns, inner)], sketch.shape(x))
    product = sketch.matmul(swapped(sketch, a), swapped(sketch, b))
    rank = len(front) + 3
    order = list(sketch.draw.permutation(rank))
    counts = op_types(transformed(sketch, sketch.transpose(product, [int(p) for p in order]), rtol=RTOL))
    assert counts["MatMul"] == 1
    assert counts.get("Transpose", 0) <= 1


@pytest.mark.parametrize("kept", ["b", "result", "left", "axes"])
def test_what_spares_nothing_stays(kept: str) -> None:
    sketch = Sketch(0)
    a, b = sketch.x(3, 5, 4), sketch.x(3, 6, 5)
    left, right = swapped(sketch, a), swapped(sketch, b)
    outputs = []
    if kept == "b":
        outputs.append(sketch.typed("Exp", [right], sketch.shape(right)))
    if kept == "left":
        left = sketch.typed("Exp", [x := sketch.x(3, 4, 5)], sketch.shape(x))
    if kept == "axes":
        b = sketch.x(5, 3, 6)
        right = sketch.transpose(b, [0, 2, 1, 3])
    product = sketch.matmul(left, right)
    outputs.append(
        swapped(sketch, product) if kept != "result" else sketch.typed("Exp", [product], sketch.shape(product))
    )
    model = transformed(sketch, *outputs, rtol=RTOL)
    (product_node,) = (node for node in model.graph if node.op_type == "MatMul")
    assert product_node.inputs[1].producer().op_type == "Transpose"


def by_matrix(sketch: Sketch, inner: int, rows: int, columns: int, *, shared: bool = False) -> oir.Model:
    """``xᵀ·Wᵀ`` of a stack of matrices x."""
    a = swapped(sketch, sketch.x(3, inner, rows))
    product = sketch.matmul(a, sketch.transpose(sketch.weight(columns, inner), [1, 0]))
    others = [sketch.typed("Exp", [a], sketch.shape(a))] if shared else []
    return transformed(sketch, sketch.typed("Tanh", [product], sketch.shape(product)), *others, rtol=RTOL)


def test_the_smaller_of_rows_and_result_is_transposed() -> None:
    model = by_matrix(Sketch(0), inner=7, rows=16, columns=6)
    (product,) = (node for node in model.graph if node.op_type == "MatMul")
    assert product.inputs[0].is_initializer()
    assert op_types(model)["Transpose"] == 1
    assert product.outputs[0].consumers()[0].op_type == "Transpose"


@pytest.mark.parametrize("kept", ["a larger result", "few rows", "rows that are used transposed"])
def test_rows_are_transposed_where_that_costs_less(kept: str) -> None:
    rows, columns = 15 if kept == "few rows" else 16, 7 if kept == "a larger result" else 6
    model = by_matrix(Sketch(0), inner=7, rows=rows, columns=columns, shared=kept == "rows that are used transposed")
    (product,) = (node for node in model.graph if node.op_type == "MatMul")
    assert product.inputs[0].producer().op_type == "Transpose"
