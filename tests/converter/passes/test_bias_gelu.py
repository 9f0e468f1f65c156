"""A Gelu behind a product with a bias takes the bias with it."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: Erf comes from another kernel, right to some units in the last place.
RTOL = 2e-6


def linear(sketch: Sketch, x: oir.Value, columns: int, *, bias: bool = True) -> oir.Value:
    """``x @ Wᵀ [+ b]`` as the lowering writes it: over the last axis of any number of axes."""
    rows = sketch.shape(x)[-1]
    product = sketch.matmul(x, sketch.transpose(sketch.weight(columns, int(rows)), [1, 0]))
    return sketch.mixed("Add", product, sketch.weight(columns)) if bias else product


def gelu(sketch: Sketch, x: oir.Value, approximate: str = "none") -> oir.Value:
    return sketch.typed("Gelu", [x], sketch.shape(x), approximate=approximate)


def fused(sketch: Sketch, *outputs: oir.Value) -> dict[str, int]:
    return op_types(transformed(sketch, *outputs, rtol=RTOL, target="onnxruntime"))


@pytest.mark.parametrize("seed", range(12))
def test_a_multilayer_perceptron_needs_no_reshape(seed: int) -> None:
    sketch = Sketch(seed)
    front = [sketch.size() for _ in range(sketch.size(1, 4))]
    inner, wide = sketch.size(2, 9), sketch.size(2, 9)
    x = sketch.x(*front, inner)
    y = linear(sketch, gelu(sketch, linear(sketch, x, wide)), inner, bias=sketch.coin())
    counts = fused(sketch, sketch.mixed("Add", x, y))
    assert counts["BiasGelu"] == 1
    assert counts["FusedMatMul"] == 2
    assert not {"Gelu", "Gemm", "Reshape"} & set(counts)


@pytest.mark.parametrize("seed", range(4))
def test_a_product_of_rows_keeps_its_op(seed: int) -> None:
    sketch = Sketch(seed)
    counts = fused(sketch, gelu(sketch, linear(sketch, sketch.x(5), 7)))
    assert counts == {"Gemm": 1, "BiasGelu": 1}


def test_what_is_no_such_gelu_stays() -> None:
    approximate, bare, shared = Sketch(0), Sketch(1), Sketch(2)
    by_tanh = gelu(approximate, linear(approximate, approximate.x(5), 7), "tanh")
    assert fused(approximate, by_tanh) == {"Gemm": 1, "Gelu": 1}
    assert fused(bare, gelu(bare, linear(bare, bare.x(5), 7, bias=False))) == {"Gemm": 1, "Gelu": 1}
    y = linear(shared, shared.x(5), 7)
    assert fused(shared, gelu(shared, y), shared.typed("Tanh", [y], shared.shape(y)))["Gelu"] == 1


@pytest.mark.parametrize("seed", range(6))
def test_portable_graphs_have_the_bias_where_runtimes_find_it(seed: int) -> None:
    sketch = Sketch(seed)
    front = [sketch.size() for _ in range(sketch.size(0, 3))]
    y = gelu(sketch, linear(sketch, sketch.x(*front, 5), 7))
    model = transformed(sketch, y, rtol=RTOL)
    (found,) = [node for node in model.graph if node.op_type == "Gelu"]
    add = found.inputs[0].producer()
    assert add.op_type == "Add"
    assert {v.producer().op_type for v in add.inputs if v.producer() is not None} == {"Gemm"}
