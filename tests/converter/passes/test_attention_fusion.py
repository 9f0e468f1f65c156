"""Attention without mask becomes one op: MultiHeadAttention for ONNX Runtime, Attention from opset 23 on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

from swift_export.converter.dims import Size

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

#: Other orders of the same sums, and the factor applied to the scores in place of q: some roundings of float32, which
#: exponentials of scores up to 30 make larger.
RTOL = 1e-5


class Attention(Sketch):
    """Attention with drawn sizes and spellings; ``rank`` counts the axes of q without channels and heads."""

    def __init__(self, seed: int, heads: int | None = None, opset: int = 20) -> None:
        super().__init__(seed, opset)
        self.heads = self.size(1, 4) if heads is None else heads
        self.front = [self.size(1, 4) for _ in range(self.size(0, 3))]
        self.tokens, self.keys = self.size(1, 9), self.size(1, 9)
        self.dim, self.value_dim = self.size(1, 6), self.size(1, 6)
        self.factor = float(np.float32(self.draw.uniform(0.2, 2) * (1 if self.coin() else -1)))

    def scaled(self, x: oir.Value) -> oir.Value:
        if self.coin():
            return self.mixed("Mul", x, self.number(self.factor))
        return self.same_type("Div", x, self.number(1 / self.factor))

    def by_head(self, x: oir.Value) -> oir.Value:
        """(..., tokens, heads * dim) -> (..., heads, tokens, dim)."""
        *front, tokens, channels = self.shape(x)
        x = self.reshape(x, (*front, tokens, self.heads, int(channels) // self.heads))
        return self.transpose(x, self.order(len(front)))

    def order(self, front: int) -> list[int]:
        return [*range(front), front + 1, front, front + 2]

    def transposed(self, x: oir.Value) -> oir.Value:
        rank = len(self.shape(x))
        return self.transpose(x, [*range(rank - 2), rank - 1, rank - 2])

    def operands(self) -> tuple[oir.Value, oir.Value, oir.Value]:
        """q, k, v by head, of inputs of their own."""
        q = self.x(*self.front, self.tokens, self.heads * self.dim)
        k = self.x(*self.front, self.keys, self.heads * self.dim)
        v = self.x(*self.front, self.keys, self.heads * self.value_dim)
        return self.by_head(q), self.by_head(k), self.by_head(v)

    def scores(self, q: oir.Value, k: oir.Value, place: str) -> oir.Value:
        q, k = (self.scaled(q) if "q" in place else q), (self.scaled(k) if "k" in place else k)
        product = self.matmul(q, self.transposed(k))
        return self.scaled(product) if "s" in place else product

    def together(self, y: oir.Value) -> oir.Value:
        """(..., heads, tokens, dim) -> (..., tokens, heads * dim)."""
        *front, heads, tokens, dim = self.shape(y)
        shape: tuple[Size, ...] = (*front, tokens, int(heads) * int(dim))
        return self.reshape(self.transpose(y, self.order(len(front))), shape)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scaled", ["", "q", "k", "s", "qk", "qs"])
def test_attention_over_heads(scaled: str, seed: int) -> None:
    sketch = Attention(seed)
    q, k, v = sketch.operands()
    y = sketch.together(sketch.matmul(sketch.softmax(sketch.scores(q, k, scaled)), v))
    model = transformed(sketch, y, rtol=RTOL, target="onnxruntime")
    counts = op_types(model)
    assert counts["MultiHeadAttention"] == 1
    assert set(counts) <= {"MultiHeadAttention", "Reshape"}
    assert model.graph.opset_imports == {"": 20, "com.microsoft": 1}
    (node,) = (n for n in model.graph if n.op_type == "MultiHeadAttention")
    assert len(node.inputs) == 3
    np.testing.assert_allclose(node.attributes["scale"].as_float(), sketch.factor ** len(scaled), rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scaled", ["", "q", "s", "qk"])
def test_onnx_has_an_op_of_its_own_from_opset_23_on(scaled: str, seed: int) -> None:
    sketch = Attention(seed, opset=23)
    q, k, v = sketch.operands()
    y = sketch.together(sketch.matmul(sketch.softmax(sketch.scores(q, k, scaled)), v))
    model = transformed(sketch, y, rtol=RTOL)
    counts = op_types(model)
    scale = sketch.factor ** len(scaled)
    # It takes the square root of its scale.
    assert counts.get("Attention", 0) == (1 if scale > 0 else 0)
    assert model.graph.opset_imports == {"": 23}
    for node in (n for n in model.graph if n.op_type == "Attention"):
        assert set(counts) <= {"Attention", "Reshape"}
        np.testing.assert_allclose(node.attributes["scale"].as_float(), scale, rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_heads_that_are_a_batch_and_no_heads_at_all(seed: int) -> None:
    sketch = Attention(seed)
    q = sketch.x(*sketch.front, sketch.tokens, sketch.dim)
    k, v = sketch.x(*sketch.front, sketch.keys, sketch.dim), sketch.x(*sketch.front, sketch.keys, sketch.value_dim)
    y = sketch.matmul(sketch.softmax(sketch.scores(q, k, "q")), v)
    counts = op_types(transformed(sketch, y, rtol=RTOL, target="onnxruntime"))
    assert counts["MultiHeadAttention"] == 1
    assert set(counts) <= {"MultiHeadAttention", "Reshape"}


def test_keys_that_stand_transposed_already() -> None:
    sketch = Attention(0)
    q, _, v = sketch.operands()
    *front, _, dim = sketch.shape(q)
    kt = sketch.x(*map(int, front[1:]), dim, sketch.keys)
    y = sketch.together(sketch.matmul(sketch.softmax(sketch.matmul(q, kt)), v))
    assert op_types(transformed(sketch, y, rtol=RTOL, target="onnxruntime"))["MultiHeadAttention"] == 1


def mask(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    scores = s.scores(q, k, "q")
    causal = np.where(np.tri(s.tokens, s.keys, dtype=bool), 0, -100).astype(np.float32)
    return [s.together(s.matmul(s.softmax(s.mixed("Add", scores, s.constant(causal))), v))]


def chosen(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    scores = s.scores(q, k, "q")
    causal = s.constant(np.tri(s.tokens, s.keys, dtype=bool))
    masked = s.typed("Where", [causal, scores, s.number(-100)], s.shape(scores))
    masked.dtype = oir.DataType.FLOAT
    return [s.together(s.matmul(s.softmax(masked), v))]


def temperature_by_head(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    scores = s.scores(q, k, "")
    return [s.together(s.matmul(s.softmax(s.mixed("Mul", scores, s.weight(s.heads, 1, 1))), v))]


def scores_are_an_output(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    scores = s.scores(q, k, s.draw.choice(["", "q", "s"]))
    return [s.together(s.matmul(s.softmax(scores), v)), scores]


def probabilities_are_used_twice(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    p = s.softmax(s.scores(q, k, "q"))
    return [s.together(s.matmul(p, v)), s.same_type("Add", p, p)]


def softmax_over_queries(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    return [s.together(s.matmul(s.softmax(s.scores(q, k, "q"), axis=-2), v))]


def values_are_broadcast(s: Attention) -> list[oir.Value]:
    q, k, _ = s.operands()
    p = s.softmax(s.scores(q, k, "q"))
    return [s.matmul(p, s.weight(s.keys, s.value_dim))]


def factor_of_zero(s: Attention) -> list[oir.Value]:
    q, k, v = s.operands()
    return [s.together(s.matmul(s.softmax(s.mixed("Mul", s.scores(q, k, ""), s.number(0))), v))]


def doubles(s: Attention) -> list[oir.Value]:
    q, k, v = (s.cast(x, oir.DataType.DOUBLE) for x in s.operands())
    return [s.together(s.matmul(s.softmax(s.matmul(q, s.transposed(k))), v))]


OTHERS: tuple[Callable[[Attention], list[oir.Value]], ...] = (
    mask,
    chosen,
    temperature_by_head,
    scores_are_an_output,
    probabilities_are_used_twice,
    softmax_over_queries,
    values_are_broadcast,
    factor_of_zero,
    doubles,
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_other_attention_stays(near_miss: Callable[[Attention], list[oir.Value]], seed: int) -> None:
    # Two heads and queries at least: with one, a factor by head is a plain factor.
    sketch = Attention(seed, heads=2)
    outputs = near_miss(sketch)
    model = transformed(sketch, *outputs, rtol=RTOL, target="onnxruntime")
    assert "MultiHeadAttention" not in op_types(model)
    assert "Softmax" in op_types(model)
    assert set(model.graph.opset_imports) == {""}


def test_portable_graphs_keep_to_the_standard() -> None:
    sketch = Attention(1)
    q, k, v = sketch.operands()
    y = sketch.together(sketch.matmul(sketch.softmax(sketch.scores(q, k, "q")), v))
    model = transformed(sketch, y, rtol=RTOL)
    assert {node.domain for node in model.graph} == {""}
    assert set(model.graph.opset_imports) == {""}


def test_attention_as_flax_writes_it() -> None:
    def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        weights = jax.nn.softmax(jnp.einsum("...qhd,...khd->...hqk", q / 2, k))
        return jnp.einsum("...hqk,...khd->...qhd", weights, v)

    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((3, n, 2, 4), np.float32) for n in (5, 7, 7))
    model = run_and_compare(attention, q, k, v, rtol=RTOL, target="onnxruntime")
    # Two comparisons of the three batches, and a Gather that fails where they differ.
    guard = {"Shape": 3, "Equal": 2, "And": 1, "Where": 1, "Gather": 1}
    assert op_types(model) == {"Reshape": 4 + 2, "MultiHeadAttention": 1, **guard}


def test_attention_as_jax_writes_it_on_one_example() -> None:
    def block(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        q, k, v = (jnp.einsum("btw,whc->bthc", x, w[i]) + b[i] for i in range(3))
        return jax.nn.dot_product_attention(q, k, v).reshape(x.shape)

    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((3, 6, 2, 3), np.float32), rng.standard_normal((3, 2, 3), np.float32)
    x = rng.standard_normal((1, 5, 6), np.float32)
    model = run_and_compare(lambda x: block(x, w, b), x, rtol=RTOL, symbolic=None, target="onnxruntime")
    assert op_types(model) == {"MatMul": 3, "Add": 3, "MultiHeadAttention": 1}
