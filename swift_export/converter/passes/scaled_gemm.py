"""Moves constant factors of products into Gemm."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.gemm import is_linear
from swift_export.converter.passes.match import (
    either,
    inputs,
    made_by,
    new_value,
    only_use,
    replace,
    scalar,
    sizes,
)

__all__ = ["scale_products"]


def scale_products(graph: oir.Graph) -> int:
    """``c * (x @ Wᵀ + b)``, also through reshapes -> Gemm with alpha and beta c."""
    count = 0
    for node in list(graph):
        if node.op_type != "Mul" or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        for scaled, other in either(node):
            factor, value = scalar(other), scaled
            while (reshape := made_by(value, "Reshape")) is not None and only_use(value) is not None:
                value = inputs(reshape)[0]
            product = made_by(value, "Gemm")
            if not factor or not math.isfinite(factor) or product is None or not is_linear(product):
                continue
            if only_use(value) is None or only_use(scaled) is None or sizes(scaled) != sizes(node.outputs[0]):
                continue
            factors = {"alpha": float(np.float32(factor)), "beta": float(np.float32(factor))}
            attributes = dict(product.attributes) | factors
            made = new_value(graph, product, "Gemm", inputs(product), sizes(value), attributes)
            replace(graph, value, made)
            replace(graph, node.outputs[0], made if scaled is value else scaled)
            count += 1
            break
    return count
