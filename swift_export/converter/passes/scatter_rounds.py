"""Rounds of a scatter of rows: the first row of each target, the second one of each, and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, constant_like, inputs, new_value, sizes
from swift_export.converter.passes.nested import all_nodes, root

__all__ = ["Rounds", "is_worthwhile", "new_sizes", "number_of_rounds"]

Pick = Callable[[oir.Value], oir.Value]

INT64 = oir.DataType.INT64
#: More rounds than these would be too many nodes.
MOST_ROUNDS = 32
#: Nanoseconds that ONNX Runtime takes about: to scatter an element by ScatterElements and in a round; to find the
#: rounds of a row; for a round, for each target in it, and for a round of a scatter.
ELEMENT, ELEMENT_IN_ROUND, ROW, ROUND, TARGET, ROUND_OF_SCATTER = 5.0, 1.0, 100, 10_000, 5, 8_000


def is_worthwhile(rows: int, targets: int, widths: Sequence[int], *, known: bool) -> bool:
    """Whether scatters of rows of these widths to the same targets, in constants if ``known``, are faster in rounds."""
    number = number_of_rounds(rows, targets)
    if not widths or number > MOST_ROUNDS:
        return False
    plan = 0 if known else rows * ROW + number * (ROUND + targets * TARGET)
    each = rows * sum(widths)
    return 1.2 * (plan + each * ELEMENT_IN_ROUND + number * len(widths) * ROUND_OF_SCATTER) < each * ELEMENT


def number_of_rounds(rows: int, targets: int) -> int:
    """Rounds for nearly all rows of random targets: the average, and two standard deviations."""
    average = rows / targets
    return math.ceil(average + 2 * math.sqrt(average)) + 1


@dataclass(frozen=True)
class _Round:
    """Rows of the update, and the different rows of the operand that they belong to, as a column."""

    rows: oir.Value
    targets: oir.Value


class Rounds:
    """The rounds of all scatters to the targets ``rows``, a vector of numbers from 0 to ``targets - 1``.

    Rows that are behind the last round are the rest.
    """

    def __init__(self, graph: oir.Graph, before: oir.Node, rows: oir.Value, targets: int):
        self._graph, self._before = graph, before
        self._sizes = new_sizes(graph)
        number = number_of_rounds(int(sizes(rows)[0]), targets)
        elements = array(rows)
        if elements is not None:
            self._rounds, self._rest = self._known(elements, targets, number)
        else:
            self._rounds, self._rest = self._computed(rows, targets, number)

    def scatter(self, node: oir.Node, data: oir.Value, pick: Pick) -> oir.Value:
        """The result of a ScatterElements of rows without the rest; ``pick`` gives rows of the update."""
        settings = {name: value for name, value in node.attributes.items() if name == "reduction"}
        for part in self._rounds:
            operands = [data, part.targets, pick(part.rows)]
            data = new_value(self._graph, node, "ScatterND", operands, sizes(data), settings)
        return data

    def rest(self, pick: Pick) -> Iterator[tuple[oir.Value, oir.Value]]:
        """The rest's targets, as a vector, and rows of the update."""
        if self._rest is not None:
            yield self._rest.targets, pick(self._rest.rows)

    def _known(self, targets: np.ndarray, length: int, number: int) -> tuple[list[_Round], _Round | None]:
        order = np.argsort(targets, kind="stable")
        counts = np.bincount(targets, minlength=length)
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)

        def part(rows: np.ndarray, chosen: np.ndarray) -> _Round:
            return _Round(*(constant_like(self._graph, a.astype(np.int64)) for a in (rows, chosen)))

        rounds = []
        for rank in range(min(number, int(counts.max()))):
            (rows,) = np.nonzero(ranks == rank)
            rounds.append(part(rows, targets[rows, None]))
        (rows,) = np.nonzero(ranks >= number)
        return rounds, part(rows, targets[rows]) if len(rows) else None

    def _computed(self, targets: oir.Value, length: int, number: int) -> tuple[list[_Round], _Round]:
        total = int(sizes(targets)[0])
        whole = self._constant([total])
        ordered, order = (oir.val(None, kind, [total]) for kind in (targets.dtype, INT64))
        # Equal keys stay in order.
        settings = {"axis": 0, "largest": 0, "sorted": 1}
        properties = dict(self._before.metadata_props)
        sort = oir.node("TopK", [targets, whole], settings, outputs=[ordered, order], metadata_props=properties)
        self._graph.insert_before(self._before, sort)
        zero, one = (constant_like(self._graph, np.asarray(n, np.int32)) for n in (0, 1))
        zeros = self._made("Expand", [zero, self._constant([length])], [length])
        ones = self._made("Expand", [one, whole], [total])
        counts = self._made("ScatterElements", [zeros, targets, ones], [length], axis=0, reduction="add")
        starts = self._made("CumSum", [counts, self._constant(0)], [length], exclusive=1)
        rounds = []
        for rank in range(number):
            bound = constant_like(self._graph, np.asarray(rank, np.int32))
            more = self._made("Greater", [counts, bound], [length], dtype=oir.DataType.BOOL)
            size = next(self._sizes)
            nonzero = self._made("NonZero", [more], [1, size], dtype=INT64)
            there = self._made("Reshape", [nonzero, self._constant([-1])], [size])
            places = self._elements(starts, there)
            if rank:
                places = self._made("Add", [places, bound], [size])
            column = self._made("Reshape", [nonzero, self._constant([-1, 1])], [size, 1])
            rounds.append(_Round(self._elements(order, places), column))
        # Of equal numbers in order, the element so many places ahead is equal too.
        begin, end, axis = self._constant([number]), self._constant([total - number]), self._constant([0])
        behind = self._made("Slice", [ordered, begin, whole, axis], [total - number])
        ahead = self._made("Slice", [ordered, axis, end, axis], [total - number])
        same = self._made("Equal", [ahead, behind], [total - number], dtype=oir.DataType.BOOL)
        size = next(self._sizes)
        nonzero = self._made("NonZero", [same], [1, size], dtype=INT64)
        there = self._made("Reshape", [nonzero, self._constant([-1])], [size])
        places = self._made("Add", [there, self._constant(number)], [size])
        return rounds, _Round(self._elements(order, places), self._elements(ordered, places))

    def _elements(self, value: oir.Value, places: oir.Value) -> oir.Value:
        # Ten times as fast as Gather.
        return self._made("GatherElements", [value, places], sizes(places), axis=0)

    def _constant(self, numbers: int | list[int]) -> oir.Value:
        return constant_like(self._graph, np.asarray(numbers, np.int64))

    def _made(
        self,
        op_type: str,
        operands: Sequence[oir.Value],
        shape: Sequence[int | str],
        dtype: oir.DataType | None = None,
        **settings: Any,
    ) -> oir.Value:
        return new_value(self._graph, self._before, op_type, operands, shape, settings, dtype=dtype)


def new_sizes(graph: oir.Graph) -> Iterator[str]:
    """Names of sizes that no value has."""
    taken: set[int | str] = set()
    for node in all_nodes(root(graph)):
        for value in (*inputs(node), *node.outputs):
            if value.shape is not None:
                taken.update(sizes(value))
    return (name for number in count(1) if (name := f"round_{number}") not in taken)
