"""Complex inputs, weights and outputs of an ONNX file: real tensors whose last axis holds real and imaginary parts."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder

__all__ = ["describe", "joined", "parted"]


def parted(b: Builder, value: oir.Value) -> list[oir.Value]:
    """Real and imaginary parts of a tensor of pairs."""
    assert value.dtype is not None
    shape = b.shape(value)[:-1]
    indices = [b.constant(np.asarray(part, np.int64)) for part in range(2)]
    return [b.node("Gather", [value, index], value.dtype, shape, axis=len(shape)) for index in indices]


def joined(b: Builder, re: oir.Value, im: oir.Value) -> oir.Value:
    """A tensor of pairs from its parts."""
    assert re.dtype is not None
    shape = b.shape(re)
    last = b.integers([len(shape)])
    columns = [b.node("Unsqueeze", [part, last], re.dtype, (*shape, 1)) for part in (re, im)]
    return b.node("Concat", columns, re.dtype, (*shape, 2), axis=len(shape))


def describe(value: oir.Value, name: str | None) -> None:
    """Say in the file that an input or output holds complex numbers of the type ``name``, if it does."""
    if name is not None:
        value.doc_string = f"{name}: real and imaginary parts along the last axis"
