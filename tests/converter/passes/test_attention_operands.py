"""Scale and biases of queries, keys and values become MultiHeadAttention's own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed
from test_bias_gelu import linear

#: Softmax and sums in another order.
RTOL = 5e-6
HEADS, DIM = 2, 3


def attend(sketch: Sketch, q: oir.Value, k: oir.Value, v: oir.Value, mask: oir.Value | None = None) -> oir.Value:
    """Heads in front, scores, softmax, heads back."""

    def by_head(x: oir.Value) -> oir.Value:
        batch, tokens, _ = sketch.shape(x)
        return sketch.transpose(sketch.reshape(x, (batch, tokens, HEADS, DIM)), [0, 2, 1, 3])

    q, k, v = map(by_head, (q, k, v))
    scores = sketch.matmul(q, sketch.transpose(k, [0, 1, 3, 2]))
    scores = scores if mask is None else sketch.mixed("Add", scores, mask)
    out = sketch.transpose(sketch.matmul(sketch.softmax(scores), v), [0, 2, 1, 3])
    batch, tokens, *_ = sketch.shape(out)
    return sketch.reshape(out, (batch, tokens, HEADS * DIM))


def projected(sketch: Sketch, x: oir.Value, scale: float) -> list[oir.Value]:
    """One product with a bias, cut in three; queries scaled."""
    q, k, v = sketch.split(linear(sketch, x, 3 * HEADS * DIM), [HEADS * DIM] * 3, 2)
    return [sketch.mixed("Mul", q, sketch.number(scale)), k, v]


def attentions(model: oir.Model) -> list[oir.Node]:
    return [node for node in model.graph if node.op_type == "MultiHeadAttention"]


def fused(sketch: Sketch, *outputs: oir.Value) -> oir.Model:
    return transformed(sketch, *outputs, rtol=RTOL, target="onnxruntime")


@pytest.mark.parametrize("seed", range(8))
def test_one_attention(seed: int) -> None:
    sketch = Sketch(seed)
    scale = float(sketch.draw.uniform(0.1, 1))
    model = fused(sketch, attend(sketch, *projected(sketch, sketch.x(sketch.size(), 5), scale)))
    (attention,) = attentions(model)
    assert attention.attributes["scale"].as_float() == pytest.approx(scale, rel=1e-6)
    bias = attention.inputs[3]
    whole = [value for name, value in model.graph.initializers.items() if name == bias.name]
    assert whole == [bias]
    assert "[" not in bias.name  # the tensor that was cut, whole again
    assert bias.const_value.numpy().shape == (3 * HEADS * DIM,)
    assert not {"Mul", "Add", "Gemm"} & set(op_types(model))


@pytest.mark.parametrize("seed", range(8))
def test_groups_that_share_one_projection(seed: int) -> None:
    sketch = Sketch(seed)
    lengths = [sketch.size() for _ in range(3)]
    parts = [sketch.split(a, lengths, 1) for a in projected(sketch, sketch.x(sum(lengths), 5), 0.5)]
    model = fused(sketch, *(attend(sketch, *group) for group in zip(*parts, strict=True)))
    found = attentions(model)
    assert len(found) == 3
    assert {attention.inputs[3] for attention in found} == {found[0].inputs[3]}
    np.testing.assert_allclose([a.attributes["scale"].as_float() for a in found], 0.5)
    assert not {"Mul", "Add"} & set(op_types(model))


@pytest.mark.parametrize("seed", range(4))
def test_a_masked_group_keeps_scale_and_biases_with_the_products(seed: int) -> None:
    sketch = Sketch(seed)
    lengths = [4, 5]
    parts = [sketch.split(a, lengths, 1) for a in projected(sketch, sketch.x(9, 5), 0.5)]
    plain, masked = zip(*parts, strict=True)
    outputs = [attend(sketch, *plain), attend(sketch, *masked, mask=sketch.weight(5, 5))]
    model = fused(sketch, *outputs)
    (attention,) = attentions(model)
    assert len([value for value in attention.inputs if value is not None]) == 3
    assert attention.attributes["scale"].as_float() == 1
    assert op_types(model)["Mul"] == 1


def test_keys_and_values_of_something_else_keep_their_biases() -> None:
    sketch = Sketch(0)
    x, y = sketch.x(4, 5), sketch.x(6, 5)
    q, k, v = (linear(sketch, a, HEADS * DIM, bias=bias) for a, bias in ((x, True), (y, True), (y, False)))
    model = fused(sketch, attend(sketch, q, k, v))
    (attention,) = attentions(model)
    assert len([value for value in attention.inputs if value is not None]) == 3
    assert op_types(model)["Add"] == 2


def test_a_projection_that_is_used_otherwise_too_keeps_its_bias() -> None:
    sketch = Sketch(1)
    q, k, v = projected(sketch, sketch.x(4, 5), 0.5)
    model = fused(sketch, attend(sketch, q, k, v), sketch.typed("Tanh", [k], sketch.shape(k)))
    (attention,) = attentions(model)
    assert len([value for value in attention.inputs if value is not None]) == 3


def test_many_short_rows_get_their_biases_in_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swift_export.converter.passes.gemm.MANY", 4)
    for rows in (3, 4):
        sketch = Sketch(0)
        model = fused(sketch, attend(sketch, *projected(sketch, sketch.x(rows, 5), 0.5)))
        (attention,) = attentions(model)
        assert attention.attributes["scale"].as_float() == 0.5
        counts = op_types(model)
        assert "Add" not in counts
        assert (len(attention.inputs) == 3, counts.get("Gemm", 0)) == ((True, 3) if rows == 4 else (False, 0))
