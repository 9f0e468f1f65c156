"""Scatters whole rows fast: as single elements, or in rounds of rows of different targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import is_filled
from swift_export.converter.passes.match import (
    array,
    attribute,
    constant_like,
    flattened,
    inputs,
    new_value,
    only_use,
    replace,
    sizes,
)
from swift_export.converter.passes.picked_rows import picker, spread_factor
from swift_export.converter.passes.reshapes import reshape_target
from swift_export.converter.passes.scatter_rounds import Rounds, is_worthwhile
from swift_export.converter.passes.segments import repeated_rows
from swift_export.converter.passes.single_elements import element_positions

__all__ = ["put_rows_first", "scatter_rows"]

#: Elements of the shortest row that is worth a copy.
SHORTEST_ROW = 16


def scatter_rows(graph: oir.Graph) -> int:
    """``ScatterElements(data, Expand(rows), update)`` of whole rows -> the same on vectors, which takes a third of the
    time, or, where many edges of a graph have the same targets, in rounds by ScatterND, which takes a tenth.

    ScatterND is a loop in parallel, so no round has two rows of one target; those of a target keep their order.
    """
    found = [scatter for node in graph if (scatter := _row_scatter(graph, node)) is not None]
    groups: dict[object, list[_RowScatter]] = {}
    for scatter in found:
        groups.setdefault(scatter.key, []).append(scatter)
    for group in groups.values():
        first, wide = group[0], [scatter for scatter in group if scatter.width >= SHORTEST_ROW]
        count, targets = sizes(first.rows)[0], sizes(inputs(first.node)[0])[0]
        rounds = None
        if isinstance(count, int) and isinstance(targets, int):
            widths = [scatter.width for scatter in wide]
            if is_worthwhile(count, targets, widths, known=array(first.rows) is not None):
                rounds = Rounds(graph, first.node, first.rows, targets)
        for scatter in group:
            data, _, update = inputs(scatter.node)
            if _adds_to_zeros(scatter.node) and only_use(update) is scatter.node:
                spread_factor(graph, update)
            if rounds is None or scatter not in wide:
                result = _as_elements(graph, scatter, data, scatter.rows, update)
            else:
                pick = picker(graph, scatter.node, update)
                result = rounds.scatter(scatter.node, data, pick)
                for rest in rounds.rest(pick):
                    result = _as_elements(graph, scatter, result, *rest)
            replace(graph, scatter.node.outputs[0], result)
    return len(found)


def put_rows_first(graph: oir.Graph) -> int:
    """A scatter along a later axis -> one along the first axis between transposes, which takes a third of the time."""
    count = 0
    for node in list(graph):
        axis = attribute(node, "axis", 0) if node.op_type == "ScatterElements" and not node.domain else 0
        if axis < 1:
            continue
        data, positions, update = inputs(node)
        order = [axis, *(i for i in range(len(sizes(data))) if i != axis)]
        shape, wanted = ([sizes(value)[i] for i in order] for value in (update, data))
        rows = repeated_rows(positions, axis)
        if rows is None or shape[1:] != wanted[1:] or not all(isinstance(size, int) for size in shape):
            continue
        first, second = (
            new_value(graph, node, "Transpose", [value], turned, {"perm": order})
            for value, turned in ((data, wanted), (update, shape))
        )
        column, whole = (constant_like(graph, np.asarray(s, np.int64)) for s in ([-1, *[1] * (len(shape) - 1)], shape))
        repeated = new_value(graph, node, "Reshape", [rows, column], [shape[0], *[1] * (len(shape) - 1)])
        operands = [first, new_value(graph, node, "Expand", [repeated, whole], shape), second]
        settings = {name: value for name, value in node.attributes.items() if name == "reduction"}
        result = new_value(graph, node, "ScatterElements", operands, wanted, {"axis": 0, **settings})
        back = {"perm": [order.index(i) for i in range(len(order))]}
        replace(graph, node.outputs[0], new_value(graph, node, "Transpose", [result], sizes(data), back))
        count += 1
    return count


@dataclass(frozen=True)
class _RowScatter:
    """A ScatterElements of whole rows, each of ``width`` elements; ``rows`` has the row of each, ``key`` is equal for
    equal ones.
    """

    node: oir.Node
    rows: oir.Value
    width: int
    key: object


def _row_scatter(graph: oir.Graph, node: oir.Node) -> _RowScatter | None:
    if node.op_type != "ScatterElements" or node.domain or attribute(node, "axis", 0) != 0:
        return None
    data, positions, update = inputs(node)
    shape, behind = sizes(update), sizes(data)[1:]
    known = [size for size in behind if isinstance(size, int)]
    width = math.prod(known)
    if len(known) < len(behind) or shape[1:] != behind or width < 2:
        return None
    rows, count = repeated_rows(positions), shape[:1]
    if rows is None:
        return None
    elements = array(rows)
    if elements is not None:
        elements = elements.reshape(-1)
        return _RowScatter(node, constant_like(graph, elements), width, (elements.dtype.name, elements.tobytes()))
    key: object = rows
    if sizes(rows) != count:
        rows = new_value(graph, node, "Reshape", [rows, constant_like(graph, np.asarray([-1], np.int64))], count)
    return _RowScatter(node, rows, width, key)


def _adds_to_zeros(node: oir.Node) -> bool:
    """Whether a scatter does not tell the signs of zeros in its update: it starts at +0, so its sums are never -0."""
    reduction = node.attributes.get("reduction")
    return reduction is not None and reduction.as_string() == "add" and is_filled(inputs(node)[0], _are_positive_zeros)


def _are_positive_zeros(elements: np.ndarray) -> bool:
    return not elements.any() and not np.signbit(elements).any()


def _as_elements(
    graph: oir.Graph, scatter: _RowScatter, data: oir.Value, rows: oir.Value, update: oir.Value
) -> oir.Value:
    """A scatter of these rows, as one of single elements in the same order."""
    node, shape = scatter.node, sizes(data)
    positions = element_positions(graph, node, rows, shape)

    def vector(value: oir.Value) -> oir.Value:
        length = flattened(sizes(value))
        assert length is not None
        target = constant_like(graph, np.asarray([-1], np.int64))
        return new_value(graph, node, "Reshape", [value, target], [length])

    operands = [vector(data), positions, vector(update)]
    flat = new_value(graph, node, "ScatterElements", operands, sizes(operands[0]), dict(node.attributes))
    whole = reshape_target(shape)
    assert whole is not None
    return new_value(graph, node, "Reshape", [flat, constant_like(graph, whole)], shape)
