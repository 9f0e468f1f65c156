"""Slices that cut an axis up without gap or overlap become one Split."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed


def drawn(sketch: Sketch) -> tuple[oir.Value, int, list[int]]:
    """An input, one of its axes and where that is cut."""
    x = sketch.x(*(sketch.size(4, 9) for _ in range(sketch.size(1, 4))))
    axis = sketch.size(1, len(sketch.shape(x)))
    size = int(sketch.shape(x)[axis])
    inner = sketch.draw.choice(range(1, size), sketch.size(1, 4), replace=False)
    return x, axis, [0, *sorted(int(i) for i in inner), size]


def used(sketch: Sketch, pieces: list[oir.Value]) -> list[oir.Value]:
    return [sketch.typed("Tanh", [piece], sketch.shape(piece)) for piece in pieces]


@pytest.mark.parametrize("seed", range(12))
def test_slices_that_cover_an_axis(seed: int) -> None:
    sketch = Sketch(seed)
    x, axis, cuts = drawn(sketch)
    bounds = [(cuts[i], cuts[i + 1]) for i in sketch.draw.permutation(len(cuts) - 1)]
    pieces = [sketch.sliced(x, start, stop, axis) for start, stop in bounds]
    model = transformed(sketch, *used(sketch, pieces), rtol=0)
    assert op_types(model) == {"Split": 1, "Tanh": len(bounds)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fault", ["gap", "overlap", "two axes", "output"])
def test_other_slices_stay(fault: str, seed: int) -> None:
    sketch = Sketch(seed)
    x, axis, (*_, size) = drawn(sketch)
    middle = size // 2
    second = {"gap": middle + 1, "overlap": middle - 1}.get(fault, middle)
    a = sketch.sliced(x, 0, middle, axis)
    y = sketch.x(*map(int, sketch.shape(x)[1:-1]), size) if fault == "two axes" else x
    b = sketch.sliced(y, second, size, len(sketch.shape(x)) - 1 if fault == "two axes" else axis)
    outputs = [*used(sketch, [a]), b] if fault == "output" else used(sketch, [a, b])
    assert "Split" not in op_types(transformed(sketch, *outputs, rtol=0))


def test_each_axis_is_split_for_itself() -> None:
    sketch = Sketch(0)
    x = sketch.x(4, 6)
    pieces = [sketch.sliced(x, *bounds, axis) for axis, bounds in ((1, (0, 2)), (1, (2, 4)), (2, (0, 5)), (2, (5, 6)))]
    assert op_types(transformed(sketch, *used(sketch, pieces), rtol=0)) == {"Split": 2, "Tanh": 4}
