"""Stacks of transposed matrices are multiplied where they lie; other products stay as they are."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: A few float32 roundings: another kernel adds in another order.
RTOL = 2e-6
SWAP = {2: [1, 0], 3: [0, 2, 1], 4: [0, 1, 3, 2]}


def swapped(sketch: Sketch, x: oir.Value) -> oir.Value:
    return sketch.transpose(x, SWAP[len(sketch.shape(x))])


def fused(sketch: Sketch, *outputs: oir.Value) -> oir.Model:
    return transformed(sketch, *outputs, rtol=RTOL, target="onnxruntime")


@pytest.mark.parametrize("turned", [False, True], ids=["W", "turned W"])
@pytest.mark.parametrize("seed", range(8))
def test_a_stack_of_transposed_matrices_is_not_moved(seed: int, turned: bool) -> None:
    sketch = Sketch(seed)
    stack = [sketch.size() for _ in range(sketch.size(0, 2))]
    rows, inner, columns = (sketch.size(2, 9) for _ in range(3))
    x = swapped(sketch, sketch.x(*stack, inner, rows, known=sketch.coin()))
    if turned:
        # A constant would be turned at export; this one is computed.
        w = swapped(sketch, sketch.typed("Exp", [sketch.x(*stack, columns, inner)], (3, *stack, columns, inner)))
        w = sketch.typed("Tanh", [w], sketch.shape(w)) if sketch.coin() else w
    else:
        w = sketch.weight(inner, columns)
    y = sketch.matmul(x, w)
    model = fused(sketch, sketch.typed("Tanh", [y], sketch.shape(y)))
    counts = op_types(model)
    assert counts["FusedMatMul"] == 1
    assert "MatMul" not in counts
    assert model.graph.opset_imports["com.microsoft"] == 1
    (node,) = [node for node in model.graph if node.op_type == "FusedMatMul"]
    assert node.domain == "com.microsoft"
    assert node.attributes["transA"].as_int() == 1


def test_both_operands_are_read_turned() -> None:
    sketch = Sketch(0)
    x, y = sketch.x(5, 4, known=True), sketch.x(6, 5, known=True)
    counts = op_types(fused(sketch, sketch.matmul(swapped(sketch, x), swapped(sketch, y))))
    assert counts == {"FusedMatMul": 1}


def test_a_transpose_that_something_else_needs_stays() -> None:
    sketch = Sketch(1)
    x = swapped(sketch, sketch.x(5, 4))
    y = sketch.matmul(x, sketch.weight(5, 3))
    counts = op_types(fused(sketch, y, sketch.typed("Tanh", [x], sketch.shape(x))))
    assert counts["FusedMatMul"] == 1
    assert counts["Transpose"] == 1


def not_transposed(sketch: Sketch) -> list[oir.Value]:
    return [sketch.matmul(sketch.x(4, 5), sketch.weight(5, 3))]


def stack_moved(sketch: Sketch) -> list[oir.Value]:
    """The matrices are turned, and so is the stack."""
    x = sketch.transpose(sketch.x(2, 5, 4, known=True), [1, 0, 3, 2])
    return [sketch.matmul(x, sketch.weight(5, 3))]


def rows_moved_into_the_stack(sketch: Sketch) -> list[oir.Value]:
    x = sketch.transpose(sketch.x(4, 2, 5, known=True), [0, 2, 1, 3])
    return [sketch.matmul(x, sketch.weight(5, 3))]


def only_the_right_one(sketch: Sketch) -> list[oir.Value]:
    return [sketch.matmul(sketch.x(4, 5, known=True), swapped(sketch, sketch.x(6, 5, known=True)))]


def one_matrix(sketch: Sketch) -> list[oir.Value]:
    """ONNX's own Gemm reads it turned."""
    x = sketch.x(6, known=True)
    return [sketch.matmul(swapped(sketch, x), sketch.weight(3, 4))]


OTHERS = (not_transposed, stack_moved, rows_moved_into_the_stack, only_the_right_one, one_matrix)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_other_products_stay(near_miss: object, seed: int) -> None:
    sketch = Sketch(seed)
    counts = op_types(fused(sketch, *near_miss(sketch)))
    assert "FusedMatMul" not in counts
    assert counts.get("MatMul", 0) + counts.get("Gemm", 0) == 1


def test_other_types_of_numbers_stay() -> None:
    """FusedMatMul computes float32 here; ONNX Runtime has no double on every machine."""
    sketch = Sketch(2)
    x = sketch.node("Cast", [sketch.x(5, 4)], oir.DataType.DOUBLE, (3, 5, 4), to=oir.DataType.DOUBLE.value)
    y = sketch.matmul(swapped(sketch, x), x)
    assert "FusedMatMul" not in op_types(fused(sketch, y))


@pytest.mark.parametrize("seed", range(4))
def test_the_portable_target_has_none(seed: int) -> None:
    sketch = Sketch(seed)
    y = sketch.matmul(swapped(sketch, sketch.x(5, 4)), sketch.weight(5, 3))
    model = transformed(sketch, y, rtol=RTOL, target="portable")
    assert {node.domain for node in model.graph} == {""}
