"""Moves scale and biases of queries, keys and values into the attention op."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.gemm import adds_cheaply, bias_of, without_bias
from swift_export.converter.passes.match import (
    array,
    either,
    inputs,
    named_constant,
    replace,
    scalar,
    sizes,
)

__all__ = ["absorb_attention_biases", "absorb_query_scales"]

#: ONNX Runtime's op, and ONNX's op, which has a scale but no bias.
ATTENTIONS = ("MultiHeadAttention", "Attention")
#: Ops that keep the last axis together.
MOVES = ("Reshape", "Split", "Unsqueeze")


def absorb_query_scales(graph: oir.Graph) -> int:
    """A constant factor of queries that are used only by attention -> the op's scale."""
    count = 0
    for node in list(graph):
        if node.op_type != "Mul" or node.domain:
            continue
        for x, other in either(node):
            factor = scalar(other)
            users = list(_users(node.outputs[0]))
            if not factor or not users or any(user is None or user[1] != 0 for user in users):
                continue
            attentions = [user[0] for user in users if user is not None]
            scales = [float(np.float32(a.attributes["scale"].as_float() * factor)) for a in attentions]
            if sizes(x) != sizes(node.outputs[0]) or not all(np.isfinite(scales)) or 0 in scales:
                continue
            # ONNX's op multiplies q and k by the square root of the scale.
            if min(scales) < 0 and any(attention.op_type == "Attention" for attention in attentions):
                continue
            for attention, scale in zip(attentions, scales, strict=True):
                attention.attributes["scale"] = oir.AttrFloat32("scale", scale)
            replace(graph, node.outputs[0], x)
            count += 1
            break
    return count


def absorb_attention_biases(graph: oir.Graph) -> int:
    """Biases of the three products that make queries, keys and values -> the op's bias.

    ONNX Runtime moves the operands anyway, and adds a bias on the way; but head by head, which takes longer than in
    products that add it at little cost.
    """
    count = 0
    for node in list(graph):
        products = _products(node)
        if products is None or any(map(adds_cheaply, products)):
            continue
        users = [list(_users(product.outputs[0])) for product in products]
        attentions = {user[0] for user in users[0] if user is not None}
        # All users of one of the three use the other two, in the right places, and have no bias yet.
        places = [{(attention, i) for attention in attentions} for i in range(3)]
        if any(None in found or set(found) != place for found, place in zip(users, places, strict=True)):
            continue
        if any(_products(attention) != products for attention in attentions):
            continue
        bias = _joined(graph, [bias_of(product) for product in products])
        if bias is None:
            continue
        for product in products:
            replace(graph, product.outputs[0], without_bias(graph, product))
        for attention in attentions:
            attention.resize_inputs(4)
            attention.replace_input_with(3, bias)
        count += 1
    return count


def _users(value: oir.Value) -> Iterator[tuple[oir.Node, int] | None]:
    """The attention ops that use a value after moves, with its operand number; None if it has any other use."""
    if value.is_graph_output():
        yield None
    for user, index in value.uses():
        if user.graph is not value.graph:
            yield None
        elif user.op_type in ATTENTIONS:
            yield user, index
        elif user.op_type in MOVES and not user.domain and index == 0 and _keeps_columns(user):
            for output in user.outputs:
                yield from _users(output)
        else:
            yield None


def _keeps_columns(node: oir.Node) -> bool:
    before = sizes(inputs(node)[0])[-1:]
    return all(sizes(output)[-1:] == before for output in node.outputs)


def _products(node: oir.Node) -> list[oir.Node] | None:
    """The Gemms that make queries, keys and values, if the op has no other operand."""
    if node.op_type != "MultiHeadAttention" or len(inputs(node)) != 3:
        return None
    products = []
    for value in inputs(node):
        source = value.producer()
        while source is not None and source.op_type in MOVES and _keeps_columns(source):
            source = inputs(source)[0].producer()
        if source is None or source.op_type != "Gemm" or source.domain:
            return None
        products.append(source)
    return products


def _joined(graph: oir.Graph, parts: list[oir.Value | None]) -> oir.Value | None:
    """The biases concatenated; if they are the pieces of one split tensor, that tensor under its own name."""
    elements = [array(part) for part in parts]
    if any(part is None for part in elements):
        return None
    whole = np.concatenate([part for part in elements if part is not None])
    name, start = str(parts[0].name if parts[0] is not None else None).partition("[")[0], 0
    for part in parts:
        assert part is not None
        stop = start + int(sizes(part)[0])
        if part.name != f"{name}[{start}:{stop}]":
            name = f"{name}[joined]"
            break
        start = stop
    return named_constant(graph, name, whole)
