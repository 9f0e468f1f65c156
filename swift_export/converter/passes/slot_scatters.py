"""Computes what a graph's nodes get from their edges in tables of edges: by reductions, not by scatters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import is_filled
from swift_export.converter.passes.maker import Maker
from swift_export.converter.passes.match import FLOATS, array, attribute, inputs, integers, made_by, replace, sizes
from swift_export.converter.passes.segments import repeated_rows
from swift_export.converter.passes.slot_tables import MOST_RANKS, Slots, bounds_of_ranks
from swift_export.converter.passes.slot_values import InSlots, can_vanish, is_of_edges, is_short
from swift_export.converter.passes.zeros import unsigned_zeros

__all__ = ["reduce_in_slots"]

FLOAT, DOUBLE, INT32, INT64 = (oir.DataType[name] for name in ("FLOAT", "DOUBLE", "INT32", "INT64"))
#: ONNX Runtime compares int64 wrongly.
DTYPES = {"add": (FLOAT, DOUBLE, INT32, INT64), "max": (FLOAT, DOUBLE, INT32), "min": (FLOAT, DOUBLE, INT32)}
EXTREMES = {"max": "Max", "min": "Min"}
#: Nanoseconds that ONNX Runtime takes about, to scatter an element and to reduce one in a slot; to find the slot of an
#: edge; and for the nodes of all tables, of a scatter of short rows, and of one of wide rows.
ELEMENT, ELEMENT_IN_SLOT, EDGE, TABLES, SHORT, WIDE = 5.0, 1.5, 40, 250_000, 40_000, 200_000


def reduce_in_slots(graph: oir.Graph) -> int:
    """``ScatterElements`` by sums and extremes of the edges' values of each target -> the values computed in a table,
    with a column for each target and a row for its first edge, its second one and so on, and reductions over the rows.

    Sums are the same bit for bit: each target's edges are added in their order.
    """
    groups: dict[tuple[oir.Value, int], list[_Scatter]] = {}
    for node in graph:
        found = _scatter(node)
        if found is not None:
            groups.setdefault((found.rows, found.count), []).append(found)
    count = 0
    for scatters in groups.values():
        region = _region(graph, scatters)
        if _is_worthwhile(scatters, region):
            _Reducer(graph, scatters, region).run()
            count += len(scatters)
    return count


@dataclass(frozen=True)
class _Scatter:
    """A scatter of a value of each edge to the targets in ``rows``.

    ``results`` are the scatter's output, or what a Slice takes of it: the first ``count`` targets.
    """

    node: oir.Node
    rows: oir.Value
    update: oir.Value
    reduction: str
    fill: np.generic
    count: int
    results: tuple[oir.Value, ...]


def _scatter(node: oir.Node) -> _Scatter | None:
    if node.op_type != "ScatterElements" or node.domain or attribute(node, "axis", 0) != 0:
        return None
    data, positions, update = inputs(node)
    found = node.attributes.get("reduction")
    reduction = found.as_string() if found is not None else "none"
    shapes = [*sizes(data), *sizes(update)]
    known = all(isinstance(size, int) and size > 0 for size in shapes) and sizes(data)[1:] == sizes(update)[1:]
    rows = repeated_rows(positions) if known and data.dtype in DTYPES.get(reduction, ()) else None
    if rows is None or sizes(rows) != sizes(update)[:1] or array(rows) is not None:
        return None
    output = node.outputs[0]
    users = [use.node for use in output.uses()]
    count = int(shapes[0])
    results: tuple[oir.Value, ...] = (output,)
    cuts = {_cut(user) for user in users}
    if len(cuts) == 1 and not output.is_graph_output():
        cut = cuts.pop()
        if cut is not None:
            count, results = cut, tuple(user.outputs[0] for user in users)
    fill = _fill(data, count)
    if fill is None or (reduction == "add" and any(fill.tobytes())):
        return None
    return _Scatter(node, rows, update, reduction, fill, count, results)


def _fill(data: oir.Value, count: int) -> np.generic | None:
    """The number that all elements of the first rows are."""
    while (node := made_by(data, "Concat")) is not None and attribute(node, "axis", 0) == 0:
        first = inputs(node)[0]
        if int(sizes(first)[0]) < count:
            break
        data = first
    seen: set[bytes] = set()

    def is_same(elements: np.ndarray) -> bool:
        seen.update(element.tobytes() for element in np.unique(elements))
        return len(seen) == 1

    if not is_filled(data, is_same):
        return None
    assert data.dtype is not None
    found: np.generic = np.frombuffer(seen.pop(), data.dtype.numpy())[0]
    return found


def _cut(node: oir.Node) -> int | None:
    """How many of the first rows a Slice takes."""
    if made_by(node.outputs[0], "Slice") is None or len(node.inputs) < 4:
        return None
    begin, axes = integers(node.inputs[1]), integers(node.inputs[3])
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else [1]
    first = sizes(node.outputs[0])[0]
    return int(first) if begin == [0] and axes == [0] and steps == [1] else None


def _region(graph: oir.Graph, scatters: Sequence[_Scatter]) -> set[oir.Node]:
    """The nodes of which all results end in these scatters, edge by edge."""
    edges = int(sizes(scatters[0].update)[0])
    ends = {scatter.node for scatter in scatters}
    region: set[oir.Node] = set()
    for node in reversed(graph):
        if not is_of_edges(node, edges) or node.outputs[0].is_graph_output():
            continue
        uses = list(node.outputs[0].uses())
        if uses and all(use.node in region or (use.node in ends and use.idx == 2) for use in uses):
            region.add(node)
    return region


def _is_worthwhile(scatters: Sequence[_Scatter], region: set[oir.Node]) -> bool:
    first = scatters[0]
    edges, count = int(sizes(first.update)[0]), first.count
    behind = [sizes(scatter.update)[1:] for scatter in scatters]
    wide = [scatter for scatter, shape in zip(scatters, behind, strict=True) if not is_short(shape)]
    if any(scatter.reduction != "add" or not can_vanish(scatter.update, region) for scatter in wide):
        return False
    ranks, last = bounds_of_ranks(edges, count)
    # A table has no more slots than twice the edges, and a rank for each node of a wide sum.
    if last >= edges or ranks * count > 2 * edges or (wide and last > MOST_RANKS):
        return False
    elements = edges * sum(math.prod(map(int, shape)) for shape in behind)
    nodes = TABLES + len(wide) * WIDE + (len(scatters) - len(wide)) * SHORT
    cost = nodes + edges * EDGE + elements * ELEMENT_IN_SLOT
    return 1.2 * cost < elements * ELEMENT


class _Reducer:
    def __init__(self, graph: oir.Graph, scatters: Sequence[_Scatter], region: set[oir.Node]):
        self._graph, self._scatters = graph, scatters
        self._unsigned = unsigned_zeros(graph)
        first = scatters[0]
        slots = Slots(graph, first.node, first.rows, first.count)
        positions = inputs(first.node)[1]
        segmented = first.count < int(sizes(inputs(first.node)[0])[0])
        self._tables = [(table, InSlots(table, region, positions, first.count, segmented)) for table in slots.tables]
        self._rest, self._in_rest = slots.rest, InSlots(slots.rest, region, positions, first.count, segmented)

    def run(self) -> None:
        for scatter in self._scatters:
            make = Maker(self._graph, scatter.node)
            shape: list[int | str] = [scatter.count, *sizes(scatter.update)[1:]]
            if is_short(shape[1:]):
                result = make.reshaped(self._short(make, scatter, shape), shape)
            else:
                result = self._wide_sum(make, scatter, shape)
            for old in scatter.results:
                replace(self._graph, old, result)

    def _short(self, make: Maker, scatter: _Scatter, shape: list[int | str]) -> oir.Value:
        """A row of sums or extremes."""
        update, (table, values), (_, others) = scatter.update, *self._tables
        fill, op_type = make.filled(scatter.fill, update), EXTREMES.get(scatter.reduction, "Sum")
        if scatter.reduction in EXTREMES:
            ranks, rest = (make.split(found.rows(make, update)) for found in (values, others))
            if scatter.fill != (-math.inf if scatter.reduction == "max" else math.inf):
                ranks.append(fill)
        else:
            ranks, rest = (make.split(found.filled(make, update)) for found in (values, others))
            ranks += self._zeros(make, scatter)
        result = _joined(make, op_type, ranks)
        if scatter.reduction in EXTREMES:
            mask = table.has_any(make, int(make.length(shape)) // scatter.count)
            result = make.made("Where", [mask, result, fill], sizes(result), result.dtype)
        positions = others.positions(make, result)
        found = _joined(make, op_type, [others.of_targets(make, result), *rest])
        result = make.made("ScatterElements", [result, positions, found], sizes(result), axis=1)
        operands = [result, self._in_rest.positions(make, result), self._in_rest.rows(make, update)]
        return make.made("ScatterElements", operands, sizes(result), axis=1, reduction=scatter.reduction)

    def _wide_sum(self, make: Maker, scatter: _Scatter, shape: list[int | str]) -> oir.Value:
        update, (_, values), (more, others) = scatter.update, *self._tables
        result = _joined(make, "Sum", [*values.parts(make, update), *self._zeros(make, scatter)])
        result = make.reshaped(result, shape)
        assert more.targets is not None
        found = make.made("Gather", [result, more.targets], [more.count, *shape[1:]], axis=0)
        found = make.reshaped(found, [1, *sizes(found)])
        found = _joined(make, "Sum", [found, *others.parts(make, update)])
        column = make.reshaped(more.targets, [more.count, 1])
        operands = [result, column, make.reshaped(found, sizes(found)[1:])]
        result = make.row(make.made("ScatterND", operands, shape))
        added = make.row(self._in_rest.of(make, update))
        operands = [result, self._in_rest.positions(make, result), added]
        result = make.made("ScatterElements", operands, sizes(result), axis=1, reduction="add")
        return make.reshaped(result, shape)

    def _zeros(self, make: Maker, scatter: _Scatter) -> list[oir.Value]:
        """What to add so that no sum is -0."""
        signed = scatter.node.outputs[0] not in self._unsigned and scatter.update.dtype in FLOATS
        return [make.filled(0, scatter.update)] if signed else []


def _joined(make: Maker, op_type: str, ranks: list[oir.Value]) -> oir.Value:
    """The sum or an extreme of ranks, in their order."""
    whole, *rest = ranks
    if op_type == "Sum" and (whole.dtype not in FLOATS or len(sizes(whole)) > 2):
        # Wide ranks one by one, each while the processor's cache has it.
        for rank in rest:
            whole = make.made("Add", [whole, rank], sizes(whole))
        return whole
    return make.made(op_type, ranks, sizes(whole)) if rest else whole
