"""Picks rows of a value before it is computed, row by row, instead of afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    FLOATS,
    attribute,
    constant_like,
    inputs,
    made_by,
    new_value,
    only_use,
    sizes,
)
from swift_export.converter.passes.single_elements import gathered

__all__ = ["picker", "spread", "spread_factor"]

#: The longest repetition of a number that ONNX Runtime multiplies by MatMul faster than by broadcasting.
LONGEST_SPREAD = 32


def picker(graph: oir.Graph, before: oir.Node, value: oir.Value) -> Callable[[oir.Value], oir.Value]:
    """A function that gives the rows of a value with the numbers in a vector; a product of gathered rows, for one, is
    computed for these alone.
    """
    return _Picker(graph, before, sizes(value)[0]).of(value)


class _Picker:
    def __init__(self, graph: oir.Graph, before: oir.Node, count: int | str):
        self._graph, self._before, self._count = graph, before, count

    def of(self, value: oir.Value) -> Callable[[oir.Value], oir.Value]:
        node = self._computed(value)
        if node is None:
            return lambda rows: gathered(self._graph, self._before, value, rows)
        operands = inputs(node)
        if node.op_type == "Gather":
            return lambda rows: gathered(
                self._graph, self._before, operands[0], gathered(self._graph, self._before, operands[1], rows)
            )
        parts = [self.of(v) if self._has_rows(v, value) else _same(v) for v in operands]

        def pick(rows: oir.Value) -> oir.Value:
            shape = [*sizes(rows), *sizes(value)[1:]]
            return new_value(self._graph, self._before, node.op_type, [part(rows) for part in parts], shape)

        return pick

    def _computed(self, value: oir.Value) -> oir.Node | None:
        """The node that gives a value, used once, if rows of its operands give rows of the value, at no more cost."""
        node = made_by(value, "Add", "Gather", "MatMul", "Mul", "Sub")
        if node is None or only_use(value) is None or node.graph is not self._graph:
            return None
        if node.op_type == "Gather":
            return node if attribute(node, "axis", 0) == 0 and len(sizes(inputs(node)[1])) == 1 else None
        if node.op_type == "MatMul":
            return node if sizes(inputs(node)[0])[-1] == 1 else None
        with_rows = [v for v in inputs(node) if self._has_rows(v, value)]
        # Of two wide operands that are there, twice as many rows would be copied.
        wide = [v for v in with_rows if sizes(v)[-1] != 1 and self._computed(v) is None]
        return node if len(with_rows) == 2 and len(wide) < 2 else None

    def _has_rows(self, operand: oir.Value, value: oir.Value) -> bool:
        return len(sizes(operand)) == len(sizes(value)) and sizes(operand)[0] == self._count


def _same(value: oir.Value) -> Callable[[oir.Value], oir.Value]:
    return lambda rows: value


def spread_factor(graph: oir.Graph, value: oir.Value) -> bool:
    """``a * b`` with one number of ``a`` for each last axis of ``b`` -> ``MatMul(a, ones) * b``, for a sum that starts
    at 0: of a -0 in ``a``, the MatMul makes +0.
    """
    node = made_by(value, "Mul")
    if node is None or node.graph is not graph:
        return False
    operands = inputs(node)
    factors = spread(graph, node, *operands)
    for place, factor in enumerate(factors):
        node.replace_input_with(place, factor)
    return factors != operands


def spread(graph: oir.Graph, before: oir.Node, first: oir.Value, second: oir.Value) -> list[oir.Value]:
    """Two factors, see `spread_factor`."""
    factors = [first, second]
    for place, (a, b) in enumerate((factors, factors[::-1])):
        shape, wide = sizes(a), sizes(b)
        length = wide[-1] if len(shape) > 1 and shape == [*wide[:-1], 1] and a.dtype in FLOATS[:2] else None
        if isinstance(length, int) and 2 <= length <= LONGEST_SPREAD:
            assert a.dtype is not None
            ones = constant_like(graph, np.ones((1, length), a.dtype.numpy()))
            factors[place] = new_value(graph, before, "MatMul", [a, ones], wide)
            break
    return factors
