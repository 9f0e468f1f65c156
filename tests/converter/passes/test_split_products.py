"""Products that are cut into pieces become one product a piece, where that is all that is used of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

#: Sums of at most 20 products, in another order at most: a few float32 roundings.
RTOL = 1e-6


def product(sketch: Sketch, x: oir.Value, weight: oir.Value, *, transposed: bool) -> oir.Value:
    """``x @ weight`` (its transpose, if ``transposed``) with or without a bias."""
    shape = sketch.shape(x)
    columns = int(sketch.shape(weight)[0 if transposed else 1])
    bias = sketch.weight(columns) if sketch.coin() else None
    if transposed and len(shape) == 2:
        operands = [x, weight] if bias is None else [x, weight, bias]
        return sketch.typed("Gemm", operands, (shape[0], columns), transB=1)
    result = sketch.matmul(x, sketch.transpose(weight, [1, 0]) if transposed else weight)
    return result if bias is None else sketch.mixed("Add", result, bias)


def linear(sketch: Sketch, columns: int) -> tuple[oir.Value, oir.Value]:
    """A product of a drawn input, of drawn rank, with a drawn matrix of so many columns; and that matrix."""
    front = [sketch.size() for _ in range(sketch.size(0, 3))]
    rows, transposed = sketch.size(2, 20), sketch.coin()
    weight = sketch.weight(*((columns, rows) if transposed else (rows, columns)))
    return product(sketch, sketch.x(*front, rows), weight, transposed=transposed), weight


def rows_apart(sketch: Sketch, y: oir.Value) -> oir.Value:
    """The same rows under another shape."""
    *front, columns = sketch.shape(y)
    return sketch.reshape(y, (1, *front, columns))


def different(sketch: Sketch, pieces: list[oir.Value]) -> list[oir.Value]:
    """What is made of each piece is another thing for each."""
    return [sketch.typed("Tanh", [p], sketch.shape(p)) if i % 2 else sketch.same_type("Add", p, p)
            for i, p in enumerate(pieces)]  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_only_outer_axes_of_columns_are_cut(seed: int, axis: int) -> None:
    sketch = Sketch(seed)
    lengths, heads = [sketch.size(1, 3) for _ in range(sketch.size(2, 5))], sketch.size()
    cut = [sum(lengths), heads] if axis == 0 else [heads, sum(lengths)]
    y, _ = linear(sketch, sum(lengths) * heads)
    if sketch.nodes[-1].op_type == "MatMul":
        # As of a framework that broadcasts biases by itself.
        y = sketch.same_type("Add", y, sketch.constant(sketch.draw.random((1, sum(lengths) * heads), "float32")))
    y = sketch.reshape(y, (*sketch.shape(y)[:-1], *cut))
    pieces = sketch.split(y, lengths, len(sketch.shape(y)) - 2 + axis)
    counts = op_types(transformed(sketch, *different(sketch, pieces), rtol=RTOL))
    products = counts.get("MatMul", 0) + counts.get("Gemm", 0)
    assert (products, counts.get("Split", 0)) == ((len(lengths), 0) if axis == 0 else (1, 1))


@pytest.mark.parametrize("seed", range(24))
def test_pieces_get_products_of_their_own(seed: int) -> None:
    sketch = Sketch(seed)
    lengths = [sketch.size(1, 6) for _ in range(sketch.size(2, 5))]
    y, weight = linear(sketch, sum(lengths))
    y = rows_apart(sketch, y) if sketch.coin() else y
    last = len(sketch.shape(y)) - 1
    if sketch.coin():
        pieces = sketch.split(y, lengths, last)
    else:
        ends = np.cumsum(lengths)
        pieces = [sketch.sliced(y, int(e) - n, int(e), last) for n, e in zip(lengths, ends, strict=True)]
        # A piece that nothing uses need not be computed.
        pieces = pieces[1:] if sketch.coin() else pieces
    matrix = weight.const_value.numpy()
    model = transformed(sketch, *different(sketch, pieces), rtol=RTOL)
    counts = op_types(model)
    assert counts.get("Gemm", 0) + counts.get("MatMul", 0) == len(pieces)
    assert not {"Split", "Slice", "Transpose"} & set(counts)
    stored = {n: v.const_value.numpy() for n, v in model.graph.initializers.items() if n.startswith(f"{weight.name}[")}
    assert len(stored) == len(pieces)
    for name, part in stored.items():
        start, stop = map(int, name.rpartition("[")[2].rstrip("]").rpartition(",")[2].split(":"))
        np.testing.assert_array_equal(part, matrix[:, start:stop] if "," in name else matrix[start:stop])


def test_a_part_is_named_after_what_it_is_of() -> None:
    sketch = Sketch(0)
    x = sketch.x(6)
    w, b = sketch.initializer("qkv.weight", np.eye(9, 6, dtype=np.float32)), sketch.initializer("qkv.bias", np.ones(9))
    b.dtype, b.const_value = oir.DataType.FLOAT, oir.tensor(np.ones(9, np.float32), name=b.name)
    y = sketch.typed("Gemm", [x, w, b], (sketch.shape(x)[0], 9), transB=1)
    model = transformed(sketch, *different(sketch, sketch.split(y, [3, 6], 1)), rtol=RTOL)
    assert set(model.graph.initializers) == {"qkv.weight[0:3]", "qkv.weight[3:9]", "qkv.bias[0:3]", "qkv.bias[3:9]"}


def used_whole(sketch: Sketch) -> list[oir.Value]:
    y, _ = linear(sketch, 6)
    return [
        *different(sketch, sketch.split(y, [2, 4], len(sketch.shape(y)) - 1)),
        sketch.typed("Exp", [y], sketch.shape(y)),
    ]


def an_output_itself(sketch: Sketch) -> list[oir.Value]:
    y, _ = linear(sketch, 6)
    return [y, *different(sketch, sketch.split(y, [2, 4], len(sketch.shape(y)) - 1))]


def another_axis(sketch: Sketch) -> list[oir.Value]:
    y = product(sketch, sketch.x(5, 4), sketch.weight(4, 4), transposed=False)
    return different(sketch, sketch.split(y, [2, 3], 1))


def overlapping(sketch: Sketch) -> list[oir.Value]:
    y, _ = linear(sketch, 6)
    last = len(sketch.shape(y)) - 1
    return different(sketch, [sketch.sliced(y, 0, 4, last), sketch.sliced(y, 3, 6, last)])


def columns_mixed_with_rows(sketch: Sketch) -> list[oir.Value]:
    y = product(sketch, sketch.x(4, 5), sketch.weight(5, 6), transposed=False)
    return different(sketch, sketch.split(sketch.reshape(y, (sketch.shape(y)[0], 12, 2)), [1, 1], 2))


def too_many(sketch: Sketch) -> list[oir.Value]:
    y, _ = linear(sketch, 5)
    return different(sketch, sketch.split(y, [1] * 5, len(sketch.shape(y)) - 1))


def a_shared_matrix(sketch: Sketch) -> list[oir.Value]:
    w = sketch.weight(4, 6)
    y, z = (sketch.matmul(sketch.x(3, 4), w) for _ in range(2))
    return [*different(sketch, sketch.split(y, [2, 4], 2)), z]


def no_constant(sketch: Sketch) -> list[oir.Value]:
    a, b = sketch.x(3, 5), sketch.x(5, 6)
    return different(sketch, sketch.split(sketch.matmul(a, b), [2, 4], 2))


OTHERS = (used_whole, an_output_itself, another_axis, overlapping, columns_mixed_with_rows, too_many, a_shared_matrix,
          no_constant)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_other_products_stay_whole(near_miss: object, seed: int) -> None:
    sketch = Sketch(seed)
    outputs = near_miss(sketch)
    before = sum(node.op_type in ("Gemm", "MatMul") for node in sketch.nodes)
    counts = op_types(transformed(sketch, *outputs, rtol=RTOL))
    assert counts.get("Gemm", 0) + counts.get("MatMul", 0) == before
    assert "Split" in counts or "Slice" in counts
