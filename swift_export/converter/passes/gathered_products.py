"""Multiplies rows before they are gathered: the nodes of a graph are fewer than the ends of its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

import onnx_ir as oir

from swift_export.converter.passes.match import attribute, inputs, made_by, new_value, replace, sizes
from swift_export.converter.passes.split_products import Product, constant_product, part_of

__all__ = ["multiply_before_gathers"]

#: The shortest rows whose product takes longer than the addition of one more term.
SHORTEST_ROW = 32
FLOATS = (oir.DataType.FLOAT, oir.DataType.DOUBLE)


@dataclass(frozen=True)
class _Part:
    """Columns ``start`` to ``stop`` of the rows that are multiplied; ``source`` has fewer, of which ``places`` are
    gathered.
    """

    value: oir.Value
    start: int
    stop: int
    source: oir.Value | None = None
    places: oir.Value | None = None


def multiply_before_gathers(graph: oir.Graph) -> int:
    """``Concat(x[i], y[j], e) @ W`` -> ``(x @ U)[i] + (y @ V)[j] + e @ T``, with the rows U, V, T of W.

    The sums of a product have no order, so they may be computed in parts.
    """
    count = 0
    for node in list(graph):
        product = constant_product(node)
        parts = _parts(product) if product is not None else None
        if product is None or parts is None or (len(parts) > 1 and not _is_cut_everywhere(product.matrix)):
            continue
        replace(graph, product.last.outputs[0], _sum(graph, product, parts))
        count += 1
    return count


def _is_cut_everywhere(matrix: oir.Value) -> bool:
    """Whether no node needs the whole matrix, which would be stored twice."""
    products = [constant_product(node) for node in matrix.consumers()]
    return all(product is not None and len(_parts(product) or ()) > 1 for product in products)


def _parts(product: Product) -> list[_Part] | None:
    """What is concatenated to the rows that are multiplied, if some of it is gathered from fewer rows."""
    x = product.x
    if x.dtype not in FLOATS or len(sizes(x)) != 2:
        return None
    concat = made_by(x, "Concat")
    if concat is not None and attribute(concat, "axis", 0) % 2 != 1:
        concat = None
    values = inputs(concat) if concat is not None else [x]
    lengths = [sizes(value)[1] for value in values]
    if not all(isinstance(length, int) for length in lengths):
        return None
    stops = list(accumulate(map(int, lengths)))
    parts = [_part(value, stop) for value, stop in zip(values, stops, strict=True)]
    return parts if any(part.source is not None for part in parts) else None


def _part(value: oir.Value, stop: int) -> _Part:
    rows, length = sizes(value)
    start, gather = stop - int(length), made_by(value, "Gather")
    if gather is None or attribute(gather, "axis", 0) != 0 or int(length) < SHORTEST_ROW:
        return _Part(value, start, stop)
    source, places = inputs(gather)
    fewer = sizes(source)[0]
    if len(sizes(source)) != 2 or not isinstance(rows, int) or not isinstance(fewer, int) or 3 * fewer > 2 * rows:
        return _Part(value, start, stop)
    return _Part(value, start, stop, source, places)


def _sum(graph: oir.Graph, product: Product, parts: list[_Part]) -> oir.Value:
    """The sum of the products of the parts, with the bias added to one of few rows."""
    before, bias, shape = product.last, product.bias, sizes(product.node.outputs[0])
    total: oir.Value | None = None
    for part in sorted(_merged(graph, before, parts), key=lambda part: part.source is not None):
        rows = part.value if part.source is None else part.source
        matrix = product.matrix
        if (part.start, part.stop) != (0, sizes(product.x)[1]):
            matrix = part_of(graph, matrix, 1 - product.axis, part.start, part.stop)
        term = _multiplied(graph, product, rows, matrix, None if part.places is None else bias)
        if part.places is not None:
            bias = None
            term = new_value(graph, before, "Gather", [term, part.places], shape, {"axis": 0})
        total = term if total is None else new_value(graph, before, "Add", [total, term], shape)
    assert total is not None
    return total


def _merged(graph: oir.Graph, before: oir.Node, parts: list[_Part]) -> Iterator[_Part]:
    """The parts, those beside each other that are not gathered as one."""
    for is_gathered, group in groupby(parts, lambda part: part.source is not None):
        first, *rest = group
        if is_gathered or not rest:
            yield from (first, *rest)
            continue
        values = [part.value for part in (first, *rest)]
        shape = [sizes(first.value)[0], rest[-1].stop - first.start]
        yield _Part(new_value(graph, before, "Concat", values, shape, {"axis": 1}), first.start, rest[-1].stop)


def _multiplied(
    graph: oir.Graph, product: Product, rows: oir.Value, matrix: oir.Value, bias: oir.Value | None
) -> oir.Value:
    node, shape = product.node, [sizes(rows)[0], sizes(product.node.outputs[0])[1]]
    if node.op_type == "Gemm" and bias is not None:
        return new_value(graph, node, "Gemm", [rows, matrix, bias], shape, dict(node.attributes))
    term = new_value(graph, node, node.op_type, [rows, matrix], shape, dict(node.attributes))
    return term if bias is None else new_value(graph, product.last, "Add", [term, bias], shape)
