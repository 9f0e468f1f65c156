"""Maximum pooling that preserves NaN, infinities and the signs of zeros.

ONNX Runtime's MaxPool skips NaN, gives the lowest finite number for a window of -infinity, and either of two zeros.
During the passes, a MaxPool of floats has StableHLO's meaning; in the finished graph, nodes around it ensure that.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.branches import Branch, fast_or_exact
from swift_export.converter.passes.match import array, constant_like, inputs, made_by, new_value, replace, sizes
from swift_export.converter.passes.nested import all_nodes, bodies
from swift_export.converter.passes.ranges import least_number
from swift_export.converter.passes.zeros import unsigned_zeros

__all__ = ["complete_pools", "plain_pools"]

DataType = oir.DataType


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


def complete_pools(graph: oir.Graph, *, in_blocks: bool = False) -> int:
    """``MaxPool(x)`` of floats -> NaN for a window with NaN, -infinity for one of nothing else, +0 above -0.

    Of numbers with a known least one, the windows' averages tell NaN, as they are infinite or NaN for nothing else that
    matters: by ops for which a runtime keeps channels ``in_blocks``, if wanted. Else the sum of all elements tells
    whether there is anything that MaxPool gets wrong; if so, the file computes again, slower.
    """
    count = 0
    for body in {node.graph for node in all_nodes(graph) if node.op_type == "MaxPool"}:
        assert isinstance(body, oir.Graph)
        unsigned = unsigned_zeros(body)
        for node in [node for node in body if node.op_type == "MaxPool" and not node.domain]:
            x, output = inputs(node)[0], node.outputs[0]
            if x.dtype not in (DataType.FLOAT, DataType.DOUBLE):
                continue
            least, signed = least_number(x)
            if least is not None and _has_average(node) and (output in unsigned or signed):
                new = _in_blocks(body, node) if in_blocks and _can_be_in_blocks(node) else None
                new = new or _with_averages(body, node, least)
            else:
                new = _with_a_test(body, node, signs=output not in unsigned)
            replace(body, output, new)
            count += 1
    return count


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


def _can_be_in_blocks(node: oir.Node) -> bool:
    """Whether ONNX Runtime keeps channels in blocks in a depthwise convolution of the pool's operand."""
    shape = sizes(inputs(node)[0])
    channels = shape[1]
    plain = node.attributes.keys() <= {"dilations", "kernel_shape", "pads", "strides"}
    return plain and len(shape) == 4 and isinstance(channels, int) and channels >= 16 and channels % 4 == 0


def _in_blocks(graph: oir.Graph, node: oir.Node) -> oir.Value:
    """The extreme, and zero times the hyperbolic tangent of the window's average, which is NaN where that is."""
    (x,), shape = inputs(node), sizes(node.outputs[0])
    channels = int(shape[1])
    kernel = list(node.attributes["kernel_shape"].as_ints())
    pooled = new_value(graph, node, "MaxPool", [x], shape, dict(node.attributes))
    ones, zeros = (
        constant_like(graph, np.full((channels, 1, *window), number, np.float32))
        for window, number in ((kernel, 1 / math.prod(kernel)), ([1, 1], 0))
    )
    kept = {name: value for name, value in node.attributes.items() if name in ("kernel_shape", "pads", "strides")}
    average = new_value(graph, node, "Conv", [x, ones], shape, {**kept, "group": channels})
    squashed = new_value(graph, node, "Tanh", [average], shape)
    marked = new_value(graph, node, "Conv", [squashed, zeros], shape, {"group": channels})
    return new_value(graph, node, "Add", [marked, pooled], shape)


def _with_a_test(graph: oir.Graph, node: oir.Node, *, signs: bool) -> oir.Value:
    """The pool where the sum of all elements is above -infinity, so that none is NaN or -infinity.

    If signs of zeros count, the sum of the reciprocals has to be, too: that of a -0 is -infinity.
    """
    (x,) = inputs(node)
    assert x.dtype is not None
    total = new_value(graph, node, "ReduceSum", [x], [], {"keepdims": 0})
    if signs:
        inverse = new_value(graph, node, "Reciprocal", [x], sizes(x))
        other = new_value(graph, node, "ReduceSum", [inverse], [], {"keepdims": 0})
        total = new_value(graph, node, "Min", [total, other], [])
    lowest = constant_like(graph, np.asarray(-math.inf, x.dtype.numpy()))
    plain = new_value(graph, node, "Greater", [total, lowest], [], dtype=DataType.BOOL)
    fast, exact = Branch(node, "fast"), Branch(node, "exact")
    return fast_or_exact(plain, fast.returning(fast.again(x)), exact.returning(_exact(exact, x, signs=signs)), node)


def _exact(branch: Branch, x: oir.Value, *, signs: bool) -> oir.Value:
    """The extremes of windows that may hold anything."""
    dtype = x.dtype
    assert dtype is not None
    # On doubles, a window of nothing but -infinity is right.
    found = branch.cast(branch.again(branch.cast(x, DataType.DOUBLE)), dtype)
    if signs:
        inverses = branch.again(branch.make("Reciprocal", [x], dtype, sizes(x)))
        found = branch.with_signs(found, branch.truth("Greater", inverses, branch.number(0.0, dtype)))
    marks = branch.cast(branch.truth("IsNaN", x), DataType.UINT8)
    any_nan = branch.cast(branch.again(marks), DataType.BOOL)
    return branch.where(any_nan, branch.number(math.nan, dtype), found)


def _completed(node: oir.Node) -> oir.Node | None:
    """The pool that ``complete_pools`` wrapped."""
    if node.op_type == "If":
        fast, exact = bodies(node)[0], bodies(node)[-1]
        pools = list(fast)
        last = exact.outputs[0].producer() if len(exact.outputs) == 1 else None
        alone = len(pools) == 1 and pools[0].op_type == "MaxPool" and last is not None and last.op_type == "Where"
        return pools[0] if alone and inputs(pools[0])[0].dtype in (DataType.FLOAT, DataType.DOUBLE) else None
    if node.op_type == "Add" and len(inputs(node)) == 2:
        return _completed_in_blocks(*inputs(node))
    if node.op_type != "Max" or len(inputs(node)) != 2:
        return None
    pool, marked = (made_by(value, op_type) for value, op_type in zip(inputs(node), ("MaxPool", "Min"), strict=True))
    average = made_by(marked.inputs[0], "AveragePool") if marked is not None else None
    if pool is None or average is None or average.inputs[0] is not pool.inputs[0]:
        return None
    return pool if {**pool.attributes, "dilations": None} == {**average.attributes, "dilations": None} else None


def _completed_in_blocks(marked: oir.Value, pooled: oir.Value) -> oir.Node | None:
    """The pool that ``_in_blocks`` wrapped."""
    pool, zero = made_by(pooled, "MaxPool"), made_by(marked, "Conv")
    squashed = made_by(zero.inputs[0], "Tanh") if zero is not None else None
    average = made_by(squashed.inputs[0], "Conv") if squashed is not None else None
    if pool is None or zero is None or average is None or average.inputs[0] is not pool.inputs[0]:
        return None
    weights = array(zero.inputs[1])
    return pool if weights is not None and not weights.any() else None
