"""Convolutions over one axis become convolutions over images of one row, where channels fill the runtime's blocks."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as oir
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

RTOL = 5e-6


class Rows(Sketch):
    """A drawn network of convolutions over one axis, with channels second or last between them."""

    def convolved(self, x: oir.Value, outside: int, groups: int = 1) -> oir.Value:
        inside, length = (int(size) for size in self.shape(x)[1:])
        width, stride, dilation = (self.size(1, 4) for _ in range(3))
        pads = [self.size(0, 4) + width * dilation, self.size(0, 4)]
        kernel = self.weight(outside, inside // groups, width)
        if self.coin():
            kernel = self.constant(kernel.const_value.numpy())  # type: ignore[union-attr]
        operands = [x, kernel, self.weight(outside)] if self.coin() else [x, kernel]
        result = (length + sum(pads) - dilation * (width - 1) - 1) // stride + 1
        settings = {"strides": [stride], "dilations": [dilation], "pads": pads, "group": groups}
        return self.typed("Conv", operands, (self.shape(x)[0], outside, result), **settings)

    def activated(self, x: oir.Value) -> oir.Value:
        for _ in range(self.size(0, 3)):
            kind = self.size(0, 4)
            if kind == 0:
                x = self.mixed("Mul", x, self.number(0.5))
            elif kind == 1:
                x = self.mixed("Add", x, self.same_type("Tanh", x))
            else:
                x = self.same_type("Relu" if kind == 2 else "LeakyRelu", x)
        return x

    def layer(self, x: oir.Value) -> oir.Value:
        inside = int(self.shape(x)[1])
        groups = [1, inside, inside // 16][self.size(0, 3)] if inside % 16 == 0 else 1
        y = self.activated(self.convolved(x, inside if groups == inside else 32, groups))
        if self.coin():
            last = self.transpose(y, [0, 2, 1])
            last = self.same_type("Tanh", last) if self.coin() else self.softmax(last)
            y = self.transpose(last, [0, 2, 1])
        return self.mixed("Add", y, x) if self.shape(y) == self.shape(x) else y


@pytest.mark.parametrize("seed", range(8))
def test_rows_become_images(seed: int) -> None:
    sketch = Rows(seed)
    x = sketch.x(3, 9) if sketch.coin() else sketch.transpose(sketch.x(9, 16), [0, 2, 1])
    y = sketch.layer(sketch.layer(sketch.layer(x)))
    model = transformed(sketch, y, rtol=RTOL, target="onnxruntime")
    ranks = [len(node.outputs[0].shape or ()) for node in model.graph if node.op_type == "Conv"]
    assert ranks == [4, 4, 4]


def test_convolutions_with_elementwise_ops_between_them_stay_images() -> None:
    sketch = Rows(0)
    x = sketch.x(16, 9)
    y = sketch.same_type("Relu", sketch.convolved(x, 32))
    z = sketch.same_type("Relu", sketch.convolved(y, 32, 32))
    counts = op_types(transformed(sketch, z, rtol=RTOL, target="onnxruntime"))
    assert counts["Squeeze"] == 1


@pytest.mark.parametrize(("inside", "outside", "groups"), [(24, 16, 1), (16, 24, 1), (24, 24, 24), (16, 16, 2)])
def test_channels_that_fill_no_blocks_stay(inside: int, outside: int, groups: int) -> None:
    sketch = Rows(1)
    y = sketch.convolved(sketch.x(inside, 5), outside, groups)
    assert set(op_types(transformed(sketch, y, rtol=RTOL, target="onnxruntime"))) == {"Conv"}


def test_the_portable_target_keeps_them() -> None:
    sketch = Rows(2)
    y = sketch.convolved(sketch.x(16, 5), 16)
    assert set(op_types(transformed(sketch, y, rtol=RTOL))) == {"Conv"}
