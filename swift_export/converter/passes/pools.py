"""Maximum pooling that preserves NaN, infinities and the signs of zeros.

ONNX Runtime's MaxPool skips NaN, gives the lowest finite number for a window of -infinity, and either of two zeros.
During the passes, a MaxPool of floats has StableHLO's meaning; in the finished graph, nodes around it ensure that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.gates import logistic_argument
from swift_export.converter.passes.match import (
    array,
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import ROOT, all_nodes, bodies, root
from swift_export.converter.passes.zeros import unsigned_zeros

__all__ = ["complete_pools", "plain_pools"]

DataType = oir.DataType

#: Numbers below which these functions have no value; NaN stays NaN.
LEAST = {"Abs": 0, "Erf": -1, "Exp": 0, "Gelu": -1, "Relu": 0, "Sigmoid": 0, "Softmax": 0, "Tanh": -1}
#: Functions of ``LEAST`` that never give a -0.
WITHOUT_NEGATIVE_ZEROS = frozenset({"Abs", "Exp", "Sigmoid", "Softmax"})
#: Ops that give nothing but elements of their operand.
MOVES = ("MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def plain_pools(graph: oir.Graph) -> int:
    """Undo the completion, so that passes can match the pool."""
    count = 0
    for node in list(all_nodes(graph)):
        pool = _completed(node)
        if pool is not None and (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
            assert isinstance(node.graph, oir.Graph)
            again = new_value(node.graph, node, "MaxPool", inputs(pool), sizes(node.outputs[0]), dict(pool.attributes))
            replace(node.graph, node.outputs[0], again)
            count += 1
    return count


def complete_pools(graph: oir.Graph) -> int:
    """``MaxPool(x)`` of floats -> NaN for a window with NaN, -infinity for one of nothing else, +0 above -0.

    Of numbers with a known least one, the windows' averages tell NaN, as they are infinite or NaN for nothing else that
    matters. Else the sum of all elements tells whether there is anything that MaxPool gets wrong; if so, the
    file computes again, slower.
    """
    count = 0
    for body in {node.graph for node in all_nodes(graph) if node.op_type == "MaxPool"}:
        assert isinstance(body, oir.Graph)
        unsigned = unsigned_zeros(body)
        for node in [node for node in body if node.op_type == "MaxPool" and not node.domain]:
            x, output = inputs(node)[0], node.outputs[0]
            if x.dtype not in (DataType.FLOAT, DataType.DOUBLE):
                continue
            least, signed = _least(x)
            if least is not None and _has_average(node) and (output in unsigned or signed):
                new = _with_averages(body, node, least)
            else:
                new = _with_a_test(body, node, signs=output not in unsigned)
            replace(body, output, new)
            count += 1
    return count


def _least(value: oir.Value | None) -> tuple[float | None, bool]:
    """A number that no element is below but NaN, if one is known; whether it is also known that no zero is a -0."""
    node = made_by(value, "Max", "Mul", "Clip", *MOVES, *LEAST)
    if node is None:
        return None, False
    if node.op_type == "Mul":
        return (-1, False) if any(_is_sigmoid(b, a) for a, b in either(node)) else (None, False)
    if node.op_type in MOVES:
        return _least(node.inputs[0])
    if node.op_type in LEAST:
        return LEAST[node.op_type], node.op_type in WITHOUT_NEGATIVE_ZEROS
    bound = array(node.inputs[1]) if len(node.inputs) > 1 else None
    if bound is None or bound.size == 0 or not np.isfinite(bound).all():
        return None, False
    # Of two equal numbers, ONNX Runtime's Max returns a constant second operand.
    return float(bound.min()), node.op_type == "Max" and len(node.inputs) == 2 and not np.signbit(bound).any()


def _is_sigmoid(value: oir.Value, of: oir.Value) -> bool:
    """Whether a value is ``sigmoid(of)``; ``x * sigmoid(x)`` is never below -0.28."""
    node = made_by(value, "Sigmoid")
    return (logistic_argument(value) if node is None else node.inputs[0]) is of


def _has_average(node: oir.Node) -> bool:
    dilations = node.attributes.get("dilations")
    plain = dilations is None or set(dilations.as_ints()) == {1}
    return plain and inputs(node)[0].dtype == DataType.FLOAT


def _with_averages(graph: oir.Graph, node: oir.Node, least: float) -> oir.Value:
    """The larger of the extreme and of the least number, which is NaN where the window's average is."""
    x, shape = inputs(node)[0], sizes(node.outputs[0])
    attributes = {name: value for name, value in node.attributes.items() if name != "dilations"}
    pooled = new_value(graph, node, "MaxPool", [x], shape, dict(node.attributes))
    average = new_value(graph, node, "AveragePool", [x], shape, attributes)
    bound = constant_like(graph, np.asarray(least, np.float32))
    marked = new_value(graph, node, "Min", [average, bound], shape)
    return new_value(graph, node, "Max", [pooled, marked], shape)


def _with_a_test(graph: oir.Graph, node: oir.Node, *, signs: bool) -> oir.Value:
    """The pool where the sum of all elements is above -infinity, so that none is NaN or -infinity.

    If signs of zeros count, the sum of the reciprocals has to be, too: that of a -0 is -infinity.
    """
    (x,), output = inputs(node), node.outputs[0]
    assert x.dtype is not None
    total = new_value(graph, node, "ReduceSum", [x], [], {"keepdims": 0})
    if signs:
        inverse = new_value(graph, node, "Reciprocal", [x], sizes(x))
        other = new_value(graph, node, "ReduceSum", [inverse], [], {"keepdims": 0})
        total = new_value(graph, node, "Min", [total, other], [])
    lowest = constant_like(graph, np.asarray(-math.inf, x.dtype.numpy()))
    plain = new_value(graph, node, "Greater", [total, lowest], [], dtype=DataType.BOOL)
    fast, exact = _Branch(graph, node, "fast"), _Branch(graph, node, "exact")
    branches = {
        "then_branch": fast.returning(fast.pool(x)),
        "else_branch": exact.returning(_exact(exact, x, signs=signs)),
    }
    result = oir.val(None, output.dtype, output.shape)
    choice = oir.node("If", [plain], branches, outputs=[result], metadata_props=dict(node.metadata_props))
    graph.insert_before(node, choice)
    return result


class _Branch:
    """Collects the nodes of a branch that pools."""

    def __init__(self, graph: oir.Graph, pool: oir.Node, name: str) -> None:
        self.body = oir.Graph([], [], nodes=[], name=name)
        self.body.meta[ROOT] = root(graph)
        self._pool = pool
        self.shape = sizes(pool.outputs[0])

    def make(
        self, op_type: str, operands: Sequence[oir.Value], dtype: DataType, shape: list[int | str], **attributes: Any
    ) -> oir.Value:
        output = oir.val(None, dtype, shape)
        properties = dict(self._pool.metadata_props)
        self.body.append(oir.node(op_type, operands, attributes, outputs=[output], metadata_props=properties))
        return output

    def number(self, value: float, dtype: DataType) -> oir.Value:
        return constant_like(self.body, np.asarray(value, dtype.numpy()))

    def cast(self, value: oir.Value, dtype: DataType) -> oir.Value:
        return self.make("Cast", [value], dtype, sizes(value), to=dtype.value) if value.dtype != dtype else value

    def pool(self, value: oir.Value) -> oir.Value:
        assert value.dtype is not None
        return self.make("MaxPool", [value], value.dtype, self.shape, **self._pool.attributes)

    def truth(self, op_type: str, *operands: oir.Value) -> oir.Value:
        return self.make(op_type, operands, DataType.BOOL, sizes(operands[0]))

    def opposite(self, condition: oir.Value) -> oir.Value:
        # ONNX Runtime's Where returns 0 for a -0 in its second input; for a Not, it would exchange the inputs.
        return self.truth("Equal", condition, constant_like(self.body, np.asarray(False)))

    def returning(self, value: oir.Value) -> oir.Graph:
        self.body.outputs.append(value)
        return self.body


def _exact(branch: _Branch, x: oir.Value, *, signs: bool) -> oir.Value:
    """The extremes of windows that may hold anything."""
    dtype, shape = x.dtype, branch.shape
    assert dtype is not None
    # On doubles, a window of nothing but -infinity is right.
    found = branch.cast(branch.pool(branch.cast(x, DataType.DOUBLE)), dtype)
    if signs:
        zero = branch.number(0.0, dtype)
        inverses = branch.make("Reciprocal", [x], dtype, sizes(x))
        positive = branch.truth("Greater", branch.pool(inverses), zero)
        signed = branch.make("Where", [positive, zero, branch.number(-0.0, dtype)], dtype, shape)
        found = branch.make("Where", [branch.opposite(branch.truth("Equal", found, zero)), found, signed], dtype, shape)
    marks = branch.cast(branch.truth("IsNaN", x), DataType.UINT8)
    any_nan = branch.cast(branch.pool(marks), DataType.BOOL)
    return branch.make("Where", [any_nan, branch.number(math.nan, dtype), found], dtype, shape)


def _completed(node: oir.Node) -> oir.Node | None:
    """The pool that ``complete_pools`` wrapped."""
    if node.op_type == "If":
        fast, exact = bodies(node)[0], bodies(node)[-1]
        pools = list(fast)
        last = exact.outputs[0].producer() if len(exact.outputs) == 1 else None
        alone = len(pools) == 1 and pools[0].op_type == "MaxPool" and last is not None and last.op_type == "Where"
        return pools[0] if alone and inputs(pools[0])[0].dtype in (DataType.FLOAT, DataType.DOUBLE) else None
    if node.op_type != "Max" or len(inputs(node)) != 2:
        return None
    pool, marked = (made_by(value, op_type) for value, op_type in zip(inputs(node), ("MaxPool", "Min"), strict=True))
    average = made_by(marked.inputs[0], "AveragePool") if marked is not None else None
    if pool is None or average is None or average.inputs[0] is not pool.inputs[0]:
        return None
    return pool if {**pool.attributes, "dilations": None} == {**average.attributes, "dilations": None} else None
