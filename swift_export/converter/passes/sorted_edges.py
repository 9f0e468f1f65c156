"""Sorts a graph's edges by their targets: by counting, as ONNX's TopK takes four times as long."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.maker import Maker
from swift_export.converter.passes.match import sizes

__all__ = ["sorted_by_target"]

BOOL, INT32, INT64 = oir.DataType.BOOL, oir.DataType.INT32, oir.DataType.INT64
#: Cells of the table of counts for each edge: one in so many shares its cell.
CELLS = 10


def sorted_by_target(
    make: Maker, targets: oir.Value, count: int, several: str
) -> tuple[oir.Value, oir.Value, oir.Value]:
    """The edges by target, those of a target in their order; how many each target has; and where its first one is.

    ``targets`` is an int32 vector of numbers from 0 to ``count``; the last one is of no target, but of edges that come
    last. ``several`` is a new name of a size.

    The edges are counted by chunks of consecutive ones: a cell for each chunk and target. An edge comes behind those of
    its target in the chunks before. Only edges of one cell, which are few, are compared.
    """
    (total,) = map(int, sizes(targets))
    chunks = math.ceil(CELLS * total / (count + 1))
    cells = chunks * (count + 1)
    numbers = make.made("Range", [make.int32(0), make.int32(total), make.int32(1)], [total])
    chunk = make.made("Div", [numbers, make.int32(math.ceil(total / chunks))], [total])
    first_cells = make.made("Mul", [chunk, make.int32(count + 1)], [total])
    cell = make.made("Add", [targets, first_cells], [total])
    zeros, ones = (
        make.made("Expand", [make.int32(n), make.int64([size])], [size]) for n, size in ((0, cells), (1, total))
    )
    counts = make.made("ScatterElements", [zeros, cell, ones], [cells], axis=0, reduction="add")
    table = make.reshaped(counts, [chunks, count + 1])
    sums = make.made("CumSum", [table, make.int64(0)], [chunks, count + 1])
    degrees = make.made("Gather", [sums, make.int64(chunks - 1)], [count + 1], axis=0)
    starts = make.made("CumSum", [degrees, make.int64(0)], [count + 1], exclusive=1)
    shared = make.elements(counts, cell)
    ends = make.made(
        "Add", [make.elements(starts, targets), make.elements(make.reshaped(sums, [cells]), cell)], [total]
    )
    places = make.made("Sub", [ends, shared], [total])
    order = make.made("ScatterElements", [numbers, places, numbers], [total], axis=0)

    # The edges of cells with several, by cell.
    more = make.made("Greater", [shared, make.int32(1)], [total], BOOL)
    edges = make.made("Compress", [numbers, more], [several], axis=0)
    length = make.made("Shape", [edges], [1], INT64)
    ordered, ranks = (oir.val(None, kind, [several]) for kind in (INT32, INT64))
    settings = {"axis": 0, "largest": 0, "sorted": 1}
    properties = dict(make.before.metadata_props)
    operands = [make.elements(cell, edges), length]
    sort = oir.node("TopK", operands, settings, outputs=[ordered, ranks], metadata_props=properties)
    make.graph.insert_before(make.before, sort)
    edges = make.elements(edges, ranks)
    # From the first one of a cell on, they take its places.
    places = make.elements(places, edges)
    number = make.made("Cast", [make.made("Squeeze", [length], [])], [], INT32, to=INT32.value)
    positions = make.made("Range", [make.int32(0), number, make.int32(1)], [several])
    last = make.made("Expand", [make.int32(np.iinfo(np.int32).max), make.int64([total])], [total])
    firsts = make.made("ScatterElements", [last, places, positions], [total], axis=0, reduction="min")
    behind = make.made("Sub", [positions, make.elements(firsts, places)], [several])
    own = make.made("Add", [places, behind], [several])
    order = make.made("ScatterElements", [order, own, edges], [total], axis=0)

    begin, end = make.int64([0]), make.int64([count])
    degrees, starts = (make.made("Slice", [value, begin, end, begin], [count]) for value in (degrees, starts))
    return order, degrees, starts
