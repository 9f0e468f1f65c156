"""Graphs drawn by seed, and the proof that passes keep their numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Dim, Shape
from swift_export.converter.passes import run_passes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import checked, op_types, run, runners

__all__ = ["Sketch", "op_types", "run", "transformed"]

#: What the unknown first axis of inputs is in a run.
BATCH = 3


class Sketch(Builder):
    """A graph whose inputs, constants, sizes and spellings come from one seed."""

    def __init__(self, seed: int, opset: int = 20) -> None:
        super().__init__(opset)
        self.draw = np.random.default_rng(seed)
        self.inputs: list[oir.Value] = []
        self.fed: list[np.ndarray] = []

    def size(self, low: int = 2, high: int = 7) -> int:
        return int(self.draw.integers(low, high))

    def coin(self) -> bool:
        return bool(self.draw.integers(2))

    def x(self, *shape: int, known: bool = False) -> oir.Value:
        """An input of this shape behind a first axis that is unknown, or as long as in the run."""
        first = BATCH if known else Dim.symbol("b")
        self.fed.append(self.draw.standard_normal((BATCH, *shape), np.float32))
        self.inputs.append(self.input(f"x{len(self.inputs)}", oir.DataType.FLOAT, (first, *shape)))
        return self.inputs[-1]

    def weight(self, *shape: int) -> oir.Value:
        """A named constant with normal elements."""
        return self.initializer(f"w{len(self.initializers)}", self.draw.standard_normal(shape, np.float32))

    def number(self, value: float) -> oir.Value:
        return self.constant(np.asarray(value, np.float32))

    def mixed(self, op_type: str, a: oir.Value, b: oir.Value) -> oir.Value:
        """A commutative op, its operands in either order."""
        return self.same_type(op_type, *((a, b) if self.coin() else (b, a)))

    def typed(self, op_type: str, operands: Sequence[oir.Value], shape: Shape, **attributes: object) -> oir.Value:
        """An op whose result has its first operand's type."""
        assert operands[0].dtype is not None
        return self.node(op_type, operands, operands[0].dtype, shape, **attributes)

    def matmul(self, a: oir.Value, b: oir.Value) -> oir.Value:
        left, right = self.shape(a), self.shape(b)
        return self.typed("MatMul", [a, b], (*left[:-1], right[-1]))

    def reduced(self, op_type: str, x: oir.Value, axes: Sequence[int]) -> oir.Value:
        shape = tuple(1 if a in axes else s for a, s in enumerate(self.shape(x)))
        return self.typed(op_type, [x, self.integers(axes)], shape, keepdims=1)

    def softmax(self, x: oir.Value, axis: int = -1) -> oir.Value:
        return self.typed("Softmax", [x], self.shape(x), axis=axis)

    def sliced(self, x: oir.Value, start: int, stop: int, axis: int) -> oir.Value:
        shape = list(self.shape(x))
        shape[axis] = stop - start
        operands = [x, *(self.integers([v]) for v in (start, stop, axis, 1))]
        return self.typed("Slice", operands, tuple(shape))

    def split(self, x: oir.Value, lengths: Sequence[int], axis: int) -> list[oir.Value]:
        """The outputs of one Split."""
        before = list(self.shape(x))
        shapes = [(*before[:axis], length, *before[axis + 1 :]) for length in lengths]
        outputs = [self._value(None, x.dtype, shape) for shape in shapes]
        self.nodes.append(oir.node("Split", [x, self.integers(lengths)], {"axis": axis}, outputs=outputs))
        return outputs


def transformed(sketch: Sketch, *outputs: oir.Value, rtol: float, target: str = "portable") -> oir.Model:
    """The drawn graph after all passes; ONNX Runtime gives the same numbers before and after.

    ``rtol`` is relative to each output's largest number; 0 means the same bits, but for the runtime's optimisations.
    """
    graph = sketch.graph(sketch.inputs, {f"y{i}": value for i, value in enumerate(outputs)})
    plain = oir.Model(graph, ir_version=10)
    run_passes(plain, fuse=False)
    before = oir.to_proto(plain).SerializeToString()
    model = oir.from_proto(onnx.load_model_from_string(before))
    run_passes(model, target=target)
    unchanged = run(before, *sketch.fed)
    for call, room in zip(runners(checked(model)), (rtol, max(rtol, 1e-5)), strict=True):
        for expected, found in zip(unchanged, call(*sketch.fed), strict=True):
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            if room == 0:
                np.testing.assert_array_equal(found, expected)
            else:
                np.testing.assert_allclose(found, expected, rtol=0, atol=room * np.abs(expected).max())
    return model
