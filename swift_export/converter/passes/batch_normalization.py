"""Fuses BatchNormalization from products and sums per channel that no weights can take in."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.channel_forms import OPS, Affine, following
from swift_export.converter.passes.match import (
    array,
    constant_like,
    inputs,
    new_value,
    replace,
    sizes,
)

__all__ = ["fuse_batch_normalization"]

#: The largest sum before a factor, times that factor: larger ones would cancel digits.
LARGEST = 16


def fuse_batch_normalization(graph: oir.Graph) -> int:
    """``scale * x + shift`` with constants for channels, the second axis -> one pass over x, of float32.

    Its mean is 0 and its variance 1, so that the op computes just that.
    """
    count = 0
    for node in list(graph):
        if node.graph is None or node.op_type not in OPS or node.domain or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        for x in inputs(node):
            form = _form(x, node)
            if form is None:
                continue
            zeros, ones = (constant_like(graph, np.full(len(form.scale), v, np.float32)) for v in (0, 1))
            numbers = (constant_like(graph, elements.astype(np.float32)) for elements in (form.scale, form.shift))
            operands = [x, *numbers, zeros, ones]
            new = new_value(graph, form.last, "BatchNormalization", operands, sizes(x), {"epsilon": 0.0})
            replace(graph, form.last.outputs[0], new)
            # What nothing reads any more is no start of another chain.
            for old in reversed(form.nodes):
                graph.remove(old, safe=True)
            count += 1
            break
    return count


def _form(x: oir.Value, first: oir.Node) -> Affine | None:
    """What two ops or more from this one on make of x, if one op computes it as well."""
    if x.shape is None or len(sizes(x)) < 3 or array(x) is not None or x.dtype != oir.DataType.FLOAT:
        return None
    best: Affine | None = None
    for form in following(x, 1, first):
        if sizes(form.last.outputs[0]) != sizes(x) or not np.isfinite([form.scale, form.shift]).all():
            break
        if form.last.op_type in ("Div", "Mul") and np.abs(form.shift).max(initial=0) > LARGEST:
            break
        if len(form.nodes) > 1 and not form.is_sum:
            best = form
    uniform = best is None or all(len(np.unique(numbers)) < 2 for numbers in (best.scale, best.shift))
    return None if uniform else best
