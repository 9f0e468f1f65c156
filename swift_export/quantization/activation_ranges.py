"""Measures the ranges of activations with a copy of the file that returns them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as oir
from onnx_ir.passes import common

from swift_export.errors import InputError
from swift_export.formats.onnx_writing import write_model
from swift_export.quantization.integer_graph import Range
from swift_export.quantization.products import Product

__all__ = ["ranges_from", "write_range_probe"]

_ENDS = ("ReduceMin", "ReduceMax")


def write_range_probe(model: oir.Model, products: Iterable[Product], path: Path) -> list[str]:
    """Write ``model`` with the smallest and the largest element of each product's activation as its outputs.

    Returns the activations' names, in the order of the outputs, two for each. The runtime keeps no activation longer
    than the model itself needs it. ``model`` is changed.
    """
    activations = list(dict.fromkeys(product.activation for product in products))
    model.graph.outputs.clear()
    for number, value in enumerate(activations):
        for end, op_type in enumerate(_ENDS):
            output = oir.Value(name=_name(number, end), shape=oir.Shape([]), type=oir.TensorType(oir.DataType.FLOAT))
            model.graph.append(oir.node(op_type, [value], {"keepdims": 0}, outputs=[output]))
            model.graph.outputs.append(output)
    common.RemoveUnusedNodesPass()(model)
    write_model(model, path)
    return [str(value.name) for value in activations]


def ranges_from(names: Sequence[str], found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Range]:
    """The range of each activation over the outputs of all calls of a probe.

    Raises InputError for activations that are not finite.
    """
    ranges = {
        name: (
            min(float(outputs[_name(number, 0)]) for outputs in found),
            max(float(outputs[_name(number, 1)]) for outputs in found),
        )
        for number, name in enumerate(names)
    }
    for name, ends in ranges.items():
        if not all(map(math.isfinite, ends)):
            raise InputError(f"calibration: expected finite activations, found {ends} at {name}; use other inputs")
    return ranges


def _name(number: int, end: int) -> str:
    return f"range{number:04d}-{end}"
