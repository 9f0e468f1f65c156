"""Batch normalization as StableHLO's own ops, in the form in which frameworks write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.elementwise import require
from swift_export.converter.rules.reduce_extremes import along
from swift_export.converter.rules.terms import FLOATS, Term

__all__: list[str] = []

_ATTRIBUTES = ["epsilon", "feature_index"]


@rule("stablehlo.batch_norm_inference", attributes=_ATTRIBUTES)
def batch_norm_inference(frame: Frame, op: Any) -> oir.Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, with one number of each per feature."""
    require(frame, op, FLOATS)
    operand, *vectors = op.operands
    scale, offset, mean, variance = (_per_feature(frame, op, vector) for vector in vectors)
    frame.shapes[op.results[0]] = frame.shape(operand)
    return _normalized(op, Term(frame.builder, frame.compact(operand)), scale, offset, mean, variance)


@rule("stablehlo.batch_norm_training", attributes=_ATTRIBUTES)
def batch_norm_training(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The same with the mean and variance of the operand itself, which are results, too."""
    require(frame, op, FLOATS)
    b = frame.builder
    operand = op.operands[0]
    shape, feature = frame.shape(operand), op.attributes["feature_index"].value
    x = Term(b, frame.full(operand))
    scale, offset = (_per_feature(frame, op, vector) for vector in list(op.operands)[1:])
    axes = [axis for axis in range(len(shape)) if axis != feature]
    mean = _mean(b, x, axes)
    centered = x - mean
    variance = _mean(b, centered * centered, axes)
    vector = (shape[feature],)
    for result, size in zip(op.results, (shape, vector, vector), strict=True):
        frame.shapes[result] = size
    statistics = [b.reshape(term.value, vector) for term in (mean, variance)]
    return [_normalized(op, x, scale, offset, mean, variance), *statistics]


def _normalized(op: Any, x: Term, scale: Term, offset: Term, mean: Term, variance: Term) -> oir.Value:
    epsilon = variance.constant(op.attributes["epsilon"].value)
    factor = (variance + epsilon).apply("Sqrt").apply("Reciprocal") * scale
    return ((x - mean) * factor + offset).value


def _per_feature(frame: Frame, op: Any, vector: Any) -> Term:
    """A vector of features with axes of size 1 for those of the operand behind them."""
    behind = len(frame.shape(op.operands[0])) - 1 - op.attributes["feature_index"].value
    value = frame.aligned(vector)
    return Term(frame.builder, frame.builder.reshape(value, (*frame.builder.shape(value), *(1,) * behind)))


def _mean(b: Builder, x: Term, axes: Sequence[int]) -> Term:
    """The mean along axes, which stay with size 1; NaN of nothing. Narrow floats are rounded once, at the end."""
    shape = b.shape(x.value)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    if 0 in [shape[axis] for axis in axes]:
        return Term(b, b.expand(b.constant(np.full((1,) * len(shape), np.nan, x.dtype.numpy())), kept))
    wide = x.to(oir.DataType.FLOAT) if x.dtype.itemsize == 2 else x
    total = Term(b, b.reshape(along(b, "ReduceSum", wide.value, axes, left), kept))
    count = b.cast(b.sizes([shape_size([shape[axis] for axis in axes])]), wide.dtype)
    return (total / Term(b, count)).to(x.dtype)
