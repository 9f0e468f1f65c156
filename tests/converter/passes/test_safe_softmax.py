"""Softmax and attention as PyTorch's modules write them: rows without an open place give 0."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

from swift_export.converter.passes.magnitudes import below, largest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, op_types, run, run_and_compare

DRAW = np.random.default_rng(0)
BATCH, HEADS, TOKENS, DIM = 2, 3, 4, 5
WIDTH = HEADS * DIM
WEIGHTS = DRAW.standard_normal((WIDTH, 3 * WIDTH), np.float32)
X = DRAW.standard_normal((BATCH, TOKENS, WIDTH), np.float32)
#: Rows of scores for which the choice matters, or might seem to.
ROWS = np.array([[-np.inf] * 3, [-np.inf, np.nan, -np.inf], [1, -np.inf, -np.inf], [np.inf, 0, -np.inf]], np.float32)


def safe_softmax(scores: jax.Array) -> jax.Array:
    """As torchax writes ``aten::_safe_softmax``."""
    empty = ~jnp.any(~(scores == -jnp.inf), -1, keepdims=True)
    return jnp.where(empty, 0.0, jax.nn.softmax(scores, -1))


def normalized(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def attention(x: jax.Array, mask: jax.Array | float = 0.0) -> jax.Array:
    """As torchax writes `nn.MultiheadAttention`: heads and batch are one axis for the products, two for the softmax."""
    batch = x.shape[0]
    rows = x.transpose(1, 0, 2) @ WEIGHTS
    q, k, v = (part.reshape(TOKENS, batch * HEADS, DIM).transpose(1, 0, 2) for part in jnp.split(rows, 3, -1))
    q, k = (a.reshape(batch, HEADS, TOKENS, DIM) * DIM**-0.25 for a in (q, k))
    q, k = q.reshape(-1, TOKENS, DIM), k.transpose(0, 1, 3, 2).reshape(-1, DIM, TOKENS)
    scores = jnp.matmul(q, k).reshape(batch, HEADS, TOKENS, TOKENS) + mask
    out = safe_softmax(scores).reshape(-1, TOKENS, TOKENS) @ v
    return out.reshape(batch, HEADS, TOKENS, DIM).transpose(2, 0, 1, 3).reshape(TOKENS, batch, WIDTH).transpose(1, 0, 2)


def test_attention_to_normalized_rows_is_fused() -> None:
    counts = op_types(run_and_compare(lambda x: attention(normalized(x)), X, rtol=1e-5, target="onnxruntime"))
    assert counts["MultiHeadAttention"] == 1
    one = run_and_compare(lambda x: attention(normalized(x)), X[:1], rtol=1e-5, symbolic=None, target="onnxruntime")
    assert "Transpose" not in op_types(one)
    assert not {"Softmax", "Where", "Equal", "Mul"} & set(counts)


def test_masks_that_leave_a_place_open_need_no_choice() -> None:
    causal = np.where(np.tri(TOKENS, dtype=bool), 0, -np.inf).astype(np.float32)
    closed = np.where(np.tri(TOKENS, k=-1, dtype=bool), 0, -np.inf).astype(np.float32)
    model = run_and_compare(
        lambda x: (attention(normalized(x), causal), attention(normalized(x), closed), attention(x, causal)),
        X,
        rtol=1e-5,
        symbolic=None,
    )
    counts = op_types(model)
    assert (counts["Softmax"], counts["Equal"]) == (3, 2)


def test_rows_that_may_be_all_infinite_keep_the_choice() -> None:
    run_and_compare(safe_softmax, ROWS, symbolic=None)
    hostile = X.copy()
    hostile[0, 0], hostile[1, 1, 0] = 1e38, np.nan
    model = lower(attention, X, symbolic=None, target="onnxruntime")
    assert op_types(model)["Equal"] == 1
    for optimized in (False, True):
        (found,) = run(model, hostile, optimized=optimized)
        np.testing.assert_allclose(found, jax.jit(attention)(hostile), rtol=1e-4, atol=1e-4)


def test_zeros_are_alike_to_softmax() -> None:
    counts = op_types(run_and_compare(lambda x: jax.nn.softmax(x + 0.0, -1), ROWS, symbolic=None))
    assert counts == {"Softmax": 1}


@pytest.mark.parametrize("seed", range(6))
def test_no_number_is_beyond_its_bound(seed: int) -> None:
    """Of values behind a normalization, which is fed anything."""
    sketch = Sketch(seed)
    n = sketch.size()
    x = sketch.x(n, n)
    shape = sketch.shape(x)
    value = sketch.typed("LayerNormalization", [x, sketch.weight(n), sketch.weight(n)], shape, axis=-1)
    for _ in range(6):
        step = sketch.draw.integers(6)
        if step < 3:
            op = ("Add", "Mul", "Sub")[step]
            value = sketch.same_type(op, value, sketch.weight(n))
        elif step == 3:
            value = sketch.matmul(value, sketch.weight(n, n))
        elif step == 4:
            value = sketch.typed("Tanh" if sketch.coin() else "Neg", [value], shape)
        else:
            value = sketch.same_type("Div", value, sketch.number(0.3))
    bound = largest(value)
    assert bound < below(oir.DataType.FLOAT)
    model = oir.Model(sketch.graph(sketch.inputs, {"y": value}), ir_version=10)
    for special in (1.0, 1e30, np.inf, np.nan):
        fed = sketch.fed[0].copy()
        fed[:, 0, 0] = special
        (found,) = run(model, fed)
        assert np.all(np.isnan(found) | (np.abs(found) <= bound * (1 + 1e-5)))
    assert largest(x) == largest(sketch.same_type("Add", value, x)) == np.inf
