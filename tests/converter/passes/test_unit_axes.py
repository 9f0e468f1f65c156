"""Axes of size 1 move behind scores and softmax; other changes of axes stay in front of them."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

RTOL = 1e-6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_scores_keep_their_axes(seed: int, masked: bool) -> None:
    sketch = Sketch(seed)
    heads, tokens = sketch.size(), sketch.size()
    x = sketch.matmul(sketch.x(heads, tokens, 3), sketch.weight(3, tokens))
    batch = sketch.shape(x)[0]
    y = sketch.mixed("Mul", sketch.reshape(x, (batch, heads, tokens, 1, tokens)), sketch.number(0.5))
    y = sketch.transpose(y, [3, 0, 1, 2, 4])
    if masked:
        mask = sketch.constant(np.tril(np.ones((1, 1, 1, tokens, tokens), bool)))
        y = sketch.node("Where", [mask, y, sketch.number(-1e9)], oir.DataType.FLOAT, sketch.shape(y))
    y = sketch.transpose(sketch.softmax(y), [1, 2, 3, 0, 4])
    y = sketch.reshape(y, (batch, heads, tokens, tokens))
    counts = op_types(transformed(sketch, sketch.matmul(y, sketch.weight(tokens, 2)), rtol=RTOL))
    assert counts == {"MatMul": 2, "Mul": 1, "Softmax": 1} | ({"Where": 1} if masked else {})


def test_a_mask_by_row_follows_its_rows() -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 3, 4)
    batch = sketch.shape(x)[0]
    mask = sketch.truth("Greater", sketch.x(1, 1, 1, 4), sketch.number(0))
    y = sketch.reshape(x, (batch, 2, 1, 3, 4))
    y = sketch.softmax(sketch.node("Where", [mask, y, sketch.number(-1e9)], oir.DataType.FLOAT, sketch.shape(y)))
    y = sketch.same_type("Tanh", sketch.reshape(y, (batch, 2, 3, 4)))
    counts = op_types(transformed(sketch, y, rtol=RTOL))
    assert counts == {"Greater": 1, "Reshape": 1, "Where": 1, "Softmax": 1, "Tanh": 1}


@pytest.mark.parametrize("kept", ["other axes", "another use", "the last axis"])
def test_what_moves_more_than_axes_of_size_1_stays(kept: str) -> None:
    sketch = Sketch(0)
    x = sketch.same_type("Exp", sketch.x(3, 4, 1))
    if kept == "other axes":
        y = sketch.transpose(x, [0, 2, 1, 3])
    elif kept == "the last axis":
        y = sketch.reshape(x, (sketch.shape(x)[0], 3, 4))
        x = y
    else:
        y = sketch.reshape(x, (sketch.shape(x)[0], 3, 1, 4))
    outputs = [sketch.same_type("Tanh", sketch.softmax(y))]
    if kept == "another use":
        outputs.append(sketch.same_type("Neg", y))
    nodes = [node.op_type for node in transformed(sketch, *outputs, rtol=RTOL).graph]
    assert nodes.index("Softmax") > min(nodes.index(move) for move in ("Transpose", "Reshape") if move in nodes)


def test_jaxs_attention() -> None:
    q = np.random.default_rng(0).standard_normal((2, 5, 3, 4)).astype(np.float32)
    model = run_and_compare(lambda q: jax.nn.dot_product_attention(q, q, q, is_causal=True), q, rtol=RTOL)
    counts = op_types(model)
    assert counts["Softmax"] == 1
    assert counts["Transpose"] <= 4
    assert "Reshape" not in counts


def test_a_first_axis_of_size_1_is_the_same_for_all() -> None:
    """Windows of a batch of one: values are kept without that axis, reductions need it."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    model = run_and_compare(lambda x: jnp.tanh(jax.nn.softmax(x[None] * 2)), x, rtol=RTOL, symbolic=None)
    counts = op_types(model)
    assert counts["Softmax"] == 1
    assert not {"Expand", "ReduceMax", "Exp"} & set(counts)
