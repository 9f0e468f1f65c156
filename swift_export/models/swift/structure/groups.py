"""Reads which tokens attend together in a block of an ONNX graph, and the masks on their scores.

A block attends in one or more groups, each a softmax between two matrix products or one fused op. Numbered tokens sent
through the graph show the sets of tokens of every group, for any movement in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from jaxtyping import Float, Int

from swift_export.converter.passes.factors import as_factor
from swift_export.models.swift.structure.subgraph import Unreadable, depends_on, evaluate

__all__ = ["Group", "read_groups"]

#: Attention ops, and the number of their first operand that can be a mask; in ONNX Runtime's, biases come before it.
ATTENTIONS = {"Attention": 3, "MultiHeadAttention": 4}
PRODUCTS = ("Gemm", "MatMul", "FusedMatMul")


@dataclass(frozen=True)
class Group:
    """Sets of tokens that attend to each other: the tokens' numbers, 0 for padding.

    ``mask`` is added to the scores; ``floor`` is how far a score may then be below the token's score with itself.
    """

    tokens: Int[np.ndarray, "sets tokens"]
    mask: Float[np.ndarray, "sets tokens tokens"] | None
    floor: float | None


def read_groups(model: oir.Model, scope: str, norm: oir.Value, tokens: int) -> Iterator[Group]:
    """The groups of the block ``scope`` with ``norm`` as its first LayerNorm's result, in the order of the graph.

    The grid's ``tokens`` are numbered from 1 in C order. Raises Unreadable for a graph of another structure than
    expected.
    """
    nodes = [node for node in model.graph if (node.name or "").startswith(f"{scope}/")]
    batch = _batch(norm)
    numbers = np.tile(np.arange(1, tokens + 1, dtype=np.float32), batch)
    arrived = evaluate(model, _entry(nodes, norm), {norm: _sent(norm, numbers)})
    rows = arrived.reshape(-1, arrived.shape[-1])[:, 0]
    found = False
    for node in nodes:
        if node.op_type in ATTENTIONS:
            masked = any(value is not None for value in node.inputs[ATTENTIONS[node.op_type] :])
            others = sorted(set(node.attributes) - {"num_heads", "q_num_heads", "kv_num_heads", "scale"})
            if masked or others:
                raise Unreadable(f"{node.name} has {', '.join(others) or 'a mask'}")
            yield Group(_sets(model, _operand(node, 2), rows, batch), None, None)
        elif node.op_type == "Softmax":
            mask, floor = _added(model, node, norm)
            yield Group(_sets(model, _values(node), rows, batch), mask, floor)
        else:
            continue
        found = True
    if not found:
        raise Unreadable(f"no attention in {scope}")


def _entry(nodes: list[oir.Node], norm: oir.Value) -> oir.Value:
    """The operand of the first matrix product after ``norm``: qkv's input."""
    for node in nodes:
        if node.op_type in PRODUCTS:
            for value in node.inputs:
                if value is not None and depends_on(value, norm):
                    return value
    raise Unreadable(f"no matrix product of {norm.name}")


def _sets(
    model: oir.Model, values: oir.Value, rows: Float[np.ndarray, " rows"], batch: int
) -> Int[np.ndarray, "sets tokens"]:
    """Send the rows' numbers from the product behind ``values`` to ``values``: (..., [heads,] tokens, channels)."""
    product = _projection(values)
    arrived = evaluate(model, values, {product: _sent(product, rows)})
    tokens = arrived[..., 0]
    if (arrived != arrived[..., :1]).any() or (arrived.ndim > 3 and (tokens != tokens[..., :1, :]).any()):
        raise Unreadable(f"{values.name} has other tokens in other channels")
    tokens = tokens[..., 0, :] if arrived.ndim > 3 else tokens
    return np.asarray(tokens.reshape(batch, -1, tokens.shape[-1])[0], np.int64)


def _projection(value: oir.Value) -> oir.Value:
    """The result of the matrix product, bias included, from which ``value`` is moved."""
    while (node := value.producer()) is not None:
        if node.op_type in PRODUCTS:
            return value
        operands = [v for v in node.inputs if v is not None and v.const_value is None]
        if node.op_type == "Add" and len(operands) == 1:
            return value
        if len(operands) != 1:
            break
        value = operands[0]
    raise Unreadable(f"{value.name} is no matrix product's")


def _values(softmax: oir.Node) -> oir.Value:
    """The factor of the probabilities, with tokens before channels."""
    for result in (softmax.outputs[0], *(n.outputs[0] for n in softmax.outputs[0].consumers() if n.op_type == "Cast")):
        for user in result.consumers():
            if user.op_type == "MatMul" and user.inputs[0] is result:
                return _operand(user, 1)
    raise Unreadable(f"{softmax.name} is followed by no product")


def _added(
    model: oir.Model, softmax: oir.Node, norm: oir.Value
) -> tuple[Float[np.ndarray, "sets tokens tokens"] | None, float | None]:
    scores, floor = _unconverted(_operand(softmax, 0)), None
    if (producer := scores.producer()) is not None and producer.op_type == "Max":
        sides = [(a, b) for a, b in (producer.inputs, reversed(producer.inputs)) if a is not None and b is not None]
        found = [(a, distance) for a, b in sides if (distance := _distance(b)) is not None]
        if len(found) != 1:
            raise Unreadable(f"{producer.name} is no floor under the scores")
        scores, floor = _unconverted(found[0][0]), found[0][1]
        producer = scores.producer()
    if producer is None or producer.op_type not in ("Add", *PRODUCTS):
        raise Unreadable(f"scores come from {producer.op_type if producer else 'nowhere'}")
    if producer.op_type != "Add":
        return None, floor
    added = [value for value in producer.inputs if value is not None and not depends_on(value, norm)]
    if len(added) != 1:
        raise Unreadable(f"{len(added)} constant operands of {producer.name}")
    mask = evaluate(model, added[0], {})
    return mask.reshape(-1, *mask.shape[-2:]), floor


def _distance(floor: oir.Value) -> float | None:
    """c, if the value is a sum of products of queries and keys minus c."""
    node = _unconverted(floor).producer()
    if node is None or node.op_type not in ("Add", "Sub") or len(node.inputs) != 2:
        return None
    own, constant = node.inputs
    total = _unconverted(own, "Cast", "Reshape", "Unsqueeze").producer() if own is not None else None
    if total is None or total.op_type != "ReduceSum" or constant is None or constant.const_value is None:
        return None
    number = float(constant.const_value.numpy())
    return number if node.op_type == "Sub" else -number


def _unconverted(value: oir.Value, *op_types: str) -> oir.Value:
    """The value before conversions between floats, in half precision, or other ops that keep its elements."""
    while (node := value.producer()) is not None and node.op_type in (op_types or ("Cast",)):
        value = _operand(node, 0)
    return value


def _operand(node: oir.Node, index: int) -> oir.Value:
    value = node.inputs[index]
    if value is None:
        raise Unreadable(f"{node.name} lacks an operand")
    return value


def _batch(value: oir.Value) -> int:
    first = value.shape[0] if value.shape is not None else None
    return first if isinstance(first, int) else 1


def _sent(value: oir.Value, rows: Float[np.ndarray, " rows"]) -> Float[np.ndarray, "*shape"]:
    """The rows' numbers in all channels, in the value's shape, with batch 1 for an unknown batch size.

    Sizes are integers, ``batch`` or ``n*batch``.
    """
    shape = [as_factor(size if isinstance(size, int) else str(size)).number for size in value.shape or ()]
    if not shape or math.prod(shape[:-1]) != len(rows):
        raise Unreadable(f"{value.name} has shape {shape}, expected {len(rows)} rows")
    return np.broadcast_to(rows[:, None], (len(rows), shape[-1])).astype(np.float32).reshape(shape)
