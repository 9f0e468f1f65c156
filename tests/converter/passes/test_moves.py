"""Transposes and reshapes in a row are as few as can be, and move every element where it went."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

from swift_export.converter.dims import Size
from swift_export.converter.passes.factors import Factor, as_factor, product, quotient


class Moved(Sketch):
    """Chains of drawn moves; sizes are drawn out of few primes, so that many cuts and joins fit."""

    def moved(self, x: oir.Value) -> oir.Value:
        shape = self.shape(x)
        kind = self.draw.integers(4)
        if kind <= 1:
            return self.transpose(x, [int(p) for p in self.draw.permutation(len(shape))])
        if kind == 2 and len(shape) > 1:
            return self.reshape(x, self.joined(shape))
        return self.reshape(x, self.cut(shape))

    def joined(self, shape: tuple[Size, ...]) -> tuple[Size, ...]:
        i = int(self.draw.integers(len(shape) - 1))
        return (*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :])

    def cut(self, shape: tuple[Size, ...]) -> tuple[Size, ...]:
        i = int(self.draw.integers(len(shape)))
        if not isinstance(shape[i], int):
            return (*shape[:i], 1, *shape[i:])
        parts = [p for p in (1, 2, 3) if shape[i] % p == 0]
        part = int(self.draw.choice(parts))
        return (*shape[:i], part, shape[i] // part, *shape[i + 1 :])

    def start(self, *, known: bool) -> oir.Value:
        return self.x(*(int(self.draw.choice([1, 2, 3, 4, 6])) for _ in range(self.size(1, 4))), known=known)


@pytest.mark.parametrize("known", [False, True], ids=["unknown batch", "known batch"])
@pytest.mark.parametrize("seed", range(60))
def test_chains_of_moves(seed: int, known: bool) -> None:
    sketch = Moved(seed)
    x = sketch.start(known=known)
    y = x
    for _ in range(sketch.size(2, 8)):
        y = sketch.moved(y)
    before = sum(node.op_type in ("Transpose", "Reshape", "Unsqueeze") for node in sketch.nodes)
    model = transformed(sketch, sketch.same_type("Add", y, y), rtol=0)
    counts = op_types(model)
    assert counts.pop("Add") == 1
    assert sum(counts.values()) <= min(before, 3)
    assert counts.get("Transpose", 0) <= 1
    assert set(counts) <= {"Transpose", "Reshape", "Unsqueeze"}


def moves(sketch: Sketch, *outputs: oir.Value) -> dict[str, int]:
    return op_types(transformed(sketch, *(sketch.same_type("Add", y, y) for y in outputs), rtol=0))


def test_moving_axes_of_size_one_is_a_reshape() -> None:
    sketch = Sketch(0)
    assert moves(sketch, sketch.transpose(sketch.x(1, 5, 1, 4), [1, 0, 3, 2, 4])) == {"Reshape": 1, "Add": 1}


def test_an_axis_cut_on_the_way_stays_together() -> None:
    sketch = Sketch(0)
    x = sketch.x(6, 4)
    b = sketch.shape(x)[0]
    y = sketch.reshape(sketch.transpose(x, [0, 2, 1]), (b, 4, 2, 3))
    y = sketch.transpose(y, [0, 2, 3, 1])
    # Moved there and back: what is left is the cut.
    assert moves(sketch, y) == {"Reshape": 1, "Add": 1}


def test_two_transposes_around_a_join_are_one() -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 3, 4)
    b = sketch.shape(x)[0]
    y = sketch.reshape(sketch.transpose(x, [0, 3, 1, 2]), (b, 4, 6))
    y = sketch.transpose(y, [1, 0, 2])
    assert moves(sketch, y) == {"Transpose": 1, "Reshape": 1, "Add": 1}


def test_pairs_that_cancel_leave_nothing() -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 3, 4)
    b = sketch.shape(x)[0]
    y = sketch.reshape(sketch.transpose(x, [0, 3, 1, 2]), (b, 2, 2, 6))
    y = sketch.transpose(sketch.reshape(y, (b, 4, 2, 3)), [0, 2, 3, 1])
    assert moves(sketch, y) == {"Add": 1}


def test_parts_of_a_chain_that_is_cut_across_merge() -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    b = sketch.shape(x)[0]
    y = sketch.transpose(sketch.reshape(sketch.transpose(x, [0, 2, 1]), (b, 2, 3, 4)), [0, 3, 1, 2])
    assert moves(sketch, sketch.reshape(y, (b, 8, 3))) == {"Reshape": 1, "Add": 1}


def test_what_is_cut_across_stays() -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    b = sketch.shape(x)[0]
    y = sketch.reshape(sketch.transpose(x, [0, 2, 1]), (b, 8, 3))
    assert moves(sketch, sketch.transpose(y, [0, 2, 1])) == {"Transpose": 2, "Reshape": 1, "Add": 1}


def test_a_transpose_moves_one_axis_where_the_others_have_size_one() -> None:
    sketch = Sketch(0)
    x = sketch.x(1, 7, 1, 2, 3)
    b = sketch.shape(x)[0]
    y = sketch.reshape(sketch.transpose(x, [0, 4, 2, 5, 1, 3]), (b, 2, 7, 3))
    model = transformed(sketch, sketch.same_type("Add", y, y), rtol=0)
    assert [list(node.attributes["perm"].as_ints()) for node in model.graph if node.op_type == "Transpose"] == [
        [0, 2, 1, 3]
    ]
    assert op_types(model) == {"Reshape": 1, "Transpose": 1, "Add": 1}


@pytest.mark.parametrize("position", [0, 1])
def test_what_is_used_in_the_middle_stays(position: int) -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 3, 4)
    b = sketch.shape(x)[0]
    first = sketch.transpose(x, [0, 3, 1, 2])
    second = sketch.reshape(first, (b, 4, 6))
    y = sketch.transpose(second, [0, 2, 1])
    counts = moves(sketch, y, (first, second)[position])
    assert counts["Transpose"] == 2


def test_outputs_keep_their_names() -> None:
    sketch = Sketch(0)
    x = sketch.x(2, 3)
    y = sketch.transpose(sketch.transpose(x, [0, 2, 1]), [0, 2, 1])
    model = transformed(sketch, y, sketch.transpose(x, [1, 2, 0]), rtol=0)
    assert [value.name for value in model.graph.outputs] == ["y0", "y1"]


def test_sizes_divide_only_where_every_unknown_does() -> None:
    assert as_factor("12*batch") == Factor(12, "batch")
    assert as_factor("a + b") == Factor(1, "a + b")
    assert quotient(Factor(12, "b"), Factor(4)) == Factor(3, "b")
    assert quotient(Factor(12, "b"), Factor(4, "b")) == Factor(3)
    assert quotient(Factor(12, "b"), Factor(5)) is None
    assert quotient(Factor(12), Factor(4, "b")) is None
    assert quotient(Factor(12, "a"), Factor(4, "b")) is None
    assert product([Factor(2, "b"), Factor(3)]) == Factor(6, "b")
    assert product([Factor(2, "b"), Factor(3, "b")]) is None
    assert [Factor(1, "b").size, Factor(2, "b").size, Factor(7).size] == ["b", "2*b", 7]
