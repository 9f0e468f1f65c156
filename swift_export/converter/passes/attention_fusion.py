"""Fuses two products and a softmax into one attention op: ONNX Runtime's own, or ONNX's from opset 23 on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import replace as changed

import numpy as np
import onnx_ir as oir

from swift_export.converter.opsets import MICROSOFT
from swift_export.converter.passes.match import (
    attribute,
    constant_like,
    either,
    flattened,
    inputs,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    scalar,
    sizes,
    swapped,
)
from swift_export.converter.passes.nested import root
from swift_export.converter.passes.reshapes import reshape_target

__all__ = ["fuse_attention", "fuse_standard_attention"]

ATTENTION_SINCE = 23
#: ONNX Runtime has kernels of 16 bits for GPUs; on a CPU, it widens float16 by itself.
TYPES = (oir.DataType.FLOAT, oir.DataType.FLOAT16, oir.DataType.BFLOAT16)


@dataclass(frozen=True)
class _Operand:
    """``source``, reshaped to ``cut``, with its axes in the order ``perm``, times ``scale``; ``shape`` is (..., tokens,
    channels).
    """

    source: oir.Value
    perm: list[int]
    scale: float
    shape: list[int | str]
    cut: list[int | str]

    def transposed(self) -> _Operand:
        order = swapped(len(self.perm))
        return changed(self, perm=[self.perm[a] for a in order], shape=[self.shape[a] for a in order])

    def fronted(self, front: list[int | str]) -> _Operand:
        """With these axes for the first one, which is all in front of the matrices."""
        first = self.perm[0]
        perm = [*range(first, first + len(front)), *(p + (len(front) - 1) * (p > first) for p in self.perm[1:])]
        cut = [*self.cut[:first], *front, *self.cut[first + 1 :]]
        return changed(self, perm=perm, shape=[*front, *self.shape[1:]], cut=cut)


def fuse_attention(graph: oir.Graph) -> int:
    """``Softmax(scale * q·kᵀ)·v`` with nothing added to the scores -> MultiHeadAttention.

    The op takes (batch, tokens, heads * channels) and moves the heads to the front itself, so transposes for that
    purpose cancel. Without mask and bias it is fast, because it never holds all scores at once; with one it is slower
    than the plain ops.
    """
    return _fuse(graph, "MultiHeadAttention")


def fuse_standard_attention(graph: oir.Graph) -> int:
    """``Softmax(scale * q·kᵀ)·v`` -> Attention, from opset 23 on."""
    return _fuse(graph, "Attention") if root(graph).opset_imports[""] >= ATTENTION_SINCE else 0


def _fuse(graph: oir.Graph, op_type: str) -> int:
    count = 0
    for node in list(graph):
        if node.op_type != "MatMul" or node.outputs[0].dtype not in TYPES:
            continue
        operands = _operands(node)
        fused = _attention(graph, node, op_type, *operands) if operands is not None else None
        if fused is not None:
            replace(graph, node.outputs[0], fused)
            count += 1
    return count


def _operands(node: oir.Node) -> tuple[_Operand, _Operand, _Operand] | None:
    """q, k and v of ``Softmax(q·kᵀ)·v``; q gets all factors of the scores."""
    probabilities, v = inputs(node)
    grouped = _regrouped(probabilities)
    softmax = made_by(grouped, "Softmax")
    last = len(sizes(grouped)) - 1
    if softmax is None or attribute(softmax, "axis", -1) % (last + 1) != last or only_use(grouped) is None:
        return None
    scores = _peel(inputs(softmax)[0], "Mul", "Div")
    made = _regrouped(scores.source)
    product = made_by(made, "MatMul")
    if product is None or only_use(inputs(softmax)[0]) is None or only_use(made) is None:
        return None
    # Batches and heads may be two axes for the softmax, and one for both products.
    front, fronts = sizes(grouped)[:-2], sizes(made)[:-2]
    if fronts != sizes(probabilities)[:-2]:
        return None
    q, k = (_peel(value, "Transpose", "Mul", "Div") for value in inputs(product))
    found = changed(q, scale=q.scale * k.scale * scores.scale), k.transposed(), _peel(v, "Transpose")
    if len(fronts) == 1 and len(front) > 1 and all(len(operand.shape) == 3 for operand in found):
        q, k, moved = (operand.fronted(front) for operand in found)
        return q, k, moved
    return found


def _regrouped(value: oir.Value) -> oir.Value:
    """A stack of matrices before a change of the axes in front of them."""
    while (move := made_by(value, "Reshape", "Unsqueeze", "Squeeze")) is not None and only_use(value) is not None:
        before = inputs(move)[0]
        if sizes(before)[-2:] != sizes(value)[-2:] or len(sizes(before)) < 3:
            break
        value = before
    return value


def _peel(value: oir.Value, *op_types: str) -> _Operand:
    """Look behind transposes and constant factors."""
    shape, perm, scale = sizes(value), list(range(len(sizes(value)))), 1.0
    while (node := made_by(value, *op_types)) is not None:
        if node.op_type == "Transpose":
            inner = permutation(node)
            perm = [inner[p] for p in perm]
            (value,) = inputs(node)
            continue
        orders = either(node) if node.op_type == "Mul" else either(node)[:1]
        factors = [(x, f) for x, other in orders if (f := scalar(other)) and sizes(x) == sizes(value)]
        if not factors:
            break
        value, factor = factors[0]
        scale *= factor if node.op_type == "Mul" else 1 / factor
    return _Operand(value, perm, scale, shape, sizes(value))


def _attention(
    graph: oir.Graph, node: oir.Node, op_type: str, q: _Operand, k: _Operand, v: _Operand
) -> oir.Value | None:
    rank = len(q.shape)
    order = list(range(rank))
    heads: int | str
    front, heads = q.shape[:-2], 1
    # The axis of the heads, if it is beside the channels in q's source; elsewhere heads act like a batch axis.
    behind = [*order[:-3], rank - 2, rank - 3, rank - 1]
    beside = rank > 2 and q.perm[-3] == rank - 2 and q.perm[-1] == rank - 1
    # The transpose of a single query or head is a Reshape by now.
    single = rank > 2 and 1 in q.shape[-3:-1] and behind in (k.perm, v.perm)
    if beside or single:
        order = behind
        front, heads = q.shape[:-3], q.shape[-3]
    batch = flattened(front)
    whole = [*q.shape[:-1], v.shape[-1]]
    result = [whole[a] for a in order]
    target, last = reshape_target(result), reshape_target(sizes(node.outputs[0]))
    cuts = [reshape_target(operand.cut) for operand in (q, k, v)]
    known = all(isinstance(size, int) for size in (heads, *q.shape[-2:], *k.shape[-2:], *v.shape[-2:]))
    # The op does not broadcast, and treats a scale of 0 as absent.
    same = q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    usable = math.isfinite(q.scale) and np.float32(q.scale) != 0
    # ONNX's op multiplies q and k by the square root of the scale.
    usable = usable and (op_type != "Attention" or q.scale > 0)
    if not (known and same and usable) or batch is None or target is None or last is None:
        return None
    if any(cut is None for cut in cuts):
        return None
    rows = []
    for operand, cut in zip((q, k, v), cuts, strict=True):
        source = operand.source
        if operand.cut != sizes(source) and cut is not None:
            source = new_value(graph, node, "Reshape", [source, constant_like(graph, cut)], operand.cut)
        moved = _transpose(graph, node, source, [operand.perm[a] for a in order])
        tokens, channels, number = (int(size) for size in (*operand.shape[-2:], heads))
        flat = constant_like(graph, np.asarray([-1, tokens, number * channels], np.int64))
        rows.append(new_value(graph, node, "Reshape", [moved, flat], [batch, tokens, number * channels]))
    shape = [batch, sizes(rows[0])[1], sizes(rows[2])[2]]
    if op_type == "Attention":
        counts, domain = {"q_num_heads": int(heads), "kv_num_heads": int(heads)}, ""
    else:
        counts, domain = {"num_heads": int(heads)}, MICROSOFT
    fused = new_value(graph, node, op_type, rows, shape, {**counts, "scale": q.scale}, domain=domain)
    fused = new_value(graph, node, "Reshape", [fused, constant_like(graph, target)], result)
    fused = _transpose(graph, node, fused, order)
    if whole == sizes(node.outputs[0]):
        return fused
    return new_value(graph, node, "Reshape", [fused, constant_like(graph, last)], sizes(node.outputs[0]))


def _transpose(graph: oir.Graph, node: oir.Node, value: oir.Value, perm: list[int]) -> oir.Value:
    if perm == sorted(perm):
        return value
    shape = [sizes(value)[p] for p in perm]
    wide = [p for p in perm if sizes(value)[p] != 1]
    target = reshape_target(shape)
    if wide == sorted(wide) and target is not None:
        return new_value(graph, node, "Reshape", [value, constant_like(graph, target)], shape)
    return new_value(graph, node, "Transpose", [value], shape, {"perm": perm})
