"""Transposes meet transposes, reshapes meet reshapes, and pointwise ops let them by."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

from swift_export.converter.passes.reshapes import POINTWISE, reshape_target


@pytest.mark.parametrize("seed", range(10))
def test_transposes_in_a_row_are_one_or_none(seed: int) -> None:
    sketch = Sketch(seed)
    rank = sketch.size(2, 6)
    x = y = sketch.x(*range(2, rank + 1))
    order = list(range(rank))
    for _ in range(sketch.size(2, 5)):
        perm = [int(p) for p in sketch.draw.permutation(rank)]
        y, order = sketch.transpose(y, perm), [order[p] for p in perm]
    if sketch.coin():
        y, order = sketch.transpose(y, [order.index(a) for a in range(rank)]), sorted(order)
    counts = op_types(transformed(sketch, sketch.same_type("Add", y, y), rtol=0))
    assert counts == ({"Add": 1} if order == sorted(order) else {"Transpose": 1, "Add": 1})
    assert sketch.shape(y) == tuple(sketch.shape(x)[a] for a in order)


def test_of_transposes_that_others_use_both_stay() -> None:
    sketch = Sketch(0)
    first = sketch.transpose(sketch.x(2, 3), [0, 2, 1])
    second = sketch.transpose(first, [1, 0, 2])
    counts = op_types(transformed(sketch, *(sketch.same_type("Add", y, y) for y in (first, second)), rtol=0))
    assert counts == {"Transpose": 2, "Add": 2}


@pytest.mark.parametrize("seed", range(6))
def test_of_reshapes_in_a_row_the_last_counts(seed: int) -> None:
    sketch = Sketch(seed)
    x = sketch.x(4, 6)
    b, *_ = sketch.shape(x)
    shapes = [(b, 24), (b, 2, 12), (b, 3, 8), (b, 1, 24), (b * 4, 6), (b, 2, 2, 6)]
    y = x
    for i in sketch.draw.permutation(len(shapes))[:4]:
        y = sketch.reshape(y, shapes[int(i)])
    assert op_types(transformed(sketch, sketch.same_type("Add", y, y), rtol=0)) == {"Reshape": 1, "Add": 1}


def test_of_a_reshape_and_its_reverse_nothing_stays() -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    y = sketch.reshape(sketch.reshape(x, (sketch.shape(x)[0] * 4, 6)), sketch.shape(x))
    assert op_types(transformed(sketch, sketch.same_type("Add", y, y), rtol=0)) == {"Add": 1}


@pytest.mark.parametrize("op_type", POINTWISE)
def test_pointwise_ops_let_reshapes_by(op_type: str) -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    x = sketch.same_type("Max", x, sketch.number(0.1))
    b, *_ = sketch.shape(x)
    rows = sketch.reshape(x, (b * 4, 6))
    y = sketch.reshape(sketch.typed(op_type, [rows], sketch.shape(rows)), (b, 4, 6))
    assert op_types(transformed(sketch, sketch.same_type("Add", y, y), rtol=0)) == {"Max": 1, op_type: 1, "Add": 1}


def test_what_looks_along_axes_does_not_let_reshapes_by() -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    b, *_ = sketch.shape(x)
    y = sketch.reshape(sketch.softmax(sketch.reshape(x, (b, 24))), (b, 4, 6))
    counts = op_types(transformed(sketch, sketch.same_type("Add", y, y), rtol=0))
    assert counts == {"Reshape": 2, "Softmax": 1, "Add": 1}


def test_a_target_has_one_unknown_size_and_no_empty_axis() -> None:
    assert list(reshape_target([2, "b", 3])) == [2, -1, 3]
    assert list(reshape_target([])) == []
    assert reshape_target(["a", "b"]) is None
    assert reshape_target(["b", 0]) is None
