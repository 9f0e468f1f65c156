"""Folds products and sums per channel into the weights and the bias of the op before them."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.channel_forms import following
from swift_export.converter.passes.constants import evaluated
from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    inputs,
    is_named,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
)

__all__ = ["fold_into_weights"]


def fold_into_weights(graph: oir.Graph) -> int:
    """``scale * op(x) + shift`` with unnamed constants per channel -> the op with scaled weights and a bias.

    For convolutions of float32, and products with a matrix if the channels have different scales.
    """
    count = 0
    for node in list(graph):
        if node.domain or not node.outputs or node.outputs[0].dtype != oir.DataType.FLOAT:
            continue
        if node.op_type in ("Conv", "ConvTranspose"):
            count += _fold(graph, node, 1)
        elif node.op_type in ("Gemm", "MatMul") and not {"alpha", "beta", "transA"} & set(node.attributes):
            count += _fold(graph, node, len(sizes(node.outputs[0])) - 1)
    return count


def _fold(graph: oir.Graph, node: oir.Node, axis: int) -> bool:
    convolves, product = node.op_type.startswith("Conv"), node.op_type == "MatMul"
    x, weights, *rest = inputs(node)
    old = evaluated(rest[0]) if rest else np.zeros(1)
    if old is None or (rest and sizes(rest[0]) != [sizes(node.outputs[0])[axis]]):
        return False
    before, place = _turned(node.outputs[0], axis) if convolves else (_rows(node.outputs[0]), -1)
    for form in reversed(following(before, place % len(sizes(before)))):
        if sizes(form.last.outputs[0]) != sizes(before) or not np.isfinite([form.scale, form.shift]).all():
            continue
        if not convolves and np.all(form.scale == form.scale[0]):
            continue
        scaled = weights if form.is_sum else _scaled(graph, node, weights, form.scale)
        if scaled is None:
            return False
        bias = constant_like(graph, (form.scale * old + form.shift).astype(np.float32))
        adds = bool(np.any(array(bias)))
        operands = [x, scaled, bias] if adds and not product else [x, scaled]
        result = new_value(graph, node, node.op_type, operands, sizes(node.outputs[0]), dict(node.attributes))
        if product and adds:
            result = new_value(graph, node, "Add", [result, bias], sizes(node.outputs[0]))
        replace(graph, node.outputs[0], result)
        replace(graph, form.last.outputs[0], result if before is node.outputs[0] else before)
        return True
    return False


def _rows(product: oir.Value) -> oir.Value:
    """The value of which a product holds the rows, if it is only reshaped to that."""
    node = only_use(product)
    same = node is not None and node.op_type == "Reshape" and sizes(node.outputs[0])[-1:] == sizes(product)[-1:]
    return node.outputs[0] if node is not None and same else product


def _turned(convolved: oir.Value, axis: int) -> tuple[oir.Value, int]:
    """The value that holds a convolution's channels elsewhere, if it is only transposed to that; and where."""
    node = only_use(convolved)
    if node is None or node.op_type != "Transpose":
        return convolved, axis
    return node.outputs[0], permutation(node).index(axis)


def _source(value: oir.Value) -> oir.Value:
    """The constant that a Transpose of weights takes."""
    turned = made_by(value, "Transpose")
    return inputs(turned)[0] if turned is not None else value


def _scaled(graph: oir.Graph, node: oir.Node, weights: oir.Value, scale: np.ndarray) -> oir.Value | None:
    """The weights with each channel of the result times its scale; None if they are named or have other uses."""
    source = _source(weights)
    elements = array(source)
    if elements is None or is_named(source) or only_use(weights) is None or only_use(source) is None:
        return None
    if source is not weights:
        turned = weights.producer()
        assert turned is not None
        elements = elements.transpose(permutation(turned))
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        factors = scale.reshape(-1, *[1] * (elements.ndim - 1))
    elif node.op_type == "ConvTranspose":
        groups = attribute(node, "group", 1)
        by_input = np.repeat(scale.reshape(groups, -1), elements.shape[0] // groups, 0)
        factors = by_input.reshape(*elements.shape[:2], *[1] * (elements.ndim - 2))
    else:
        factors = scale
    product = (elements * factors).astype(np.float32)
    return constant_like(graph, product) if np.isfinite(product).all() else None
