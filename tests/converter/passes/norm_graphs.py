"""Normalisations in drawn sizes and spellings."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch

__all__ = ["Norm"]


class Norm(Sketch):
    """Normalises one input over its last one or two axes."""

    def __init__(self, seed: int, opset: int = 20) -> None:
        super().__init__(seed, opset)
        shape = [self.size() for _ in range(self.size(1, 4))]
        self.source = self.x(*shape)
        self.rank = len(shape) + 1
        self.axis = self.rank - self.size(1, min(3, self.rank))
        self.epsilon = float(10 ** self.draw.uniform(-7, -1))

    @property
    def trailing(self) -> list[int]:
        return [int(size) for size in self.shape(self.source)[self.axis :]]

    def mean(self, x: oir.Value) -> oir.Value:
        return self.reduced("ReduceMean", x, range(self.axis, self.rank))

    def squared(self, x: oir.Value) -> oir.Value:
        return self.same_type("Mul", x, x) if self.coin() else self.same_type("Pow", x, self.number(2))

    def root(self, x: oir.Value) -> oir.Value:
        """The root of the mean square, epsilon inside."""
        return self.same_type("Sqrt", self.mixed("Add", self.mean(self.squared(x)), self.number(self.epsilon)))

    def over_root(self, x: oir.Value, root: oir.Value) -> oir.Value:
        if self.coin():
            return self.same_type("Div", x, root)
        return self.mixed("Mul", x, self.same_type("Reciprocal", root))

    def less_mean(self, x: oir.Value) -> oir.Value:
        return self.same_type("Sub", x, self.mean(x))
