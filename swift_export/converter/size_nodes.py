"""Sizes at run time: the nodes that compute a size from those of the inputs, or from data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import onnx_ir as oir

from swift_export.converter.dims import Call, Dim, Shape, Size, solved
from swift_export.converter.size_functions import Facts, least
from swift_export.converter.step_symbols import Step
from swift_export.errors import LoweringError

__all__ = ["SizeNodes"]

INT64 = oir.DataType.INT64


class Graph(Protocol):
    """The part of a builder that makes these nodes."""

    facts: Facts

    def shape(self, value: oir.Value) -> Shape: ...
    def integers(self, values: Sequence[int]) -> oir.Value: ...
    def node(
        self, op_type: str, inputs: Sequence[oir.Value | None], dtype: oir.DataType, shape: Shape, **attributes: Any
    ) -> oir.Value: ...
    def same_type(self, op_type: str, *inputs: oir.Value, **attributes: Any) -> oir.Value: ...
    def truth(self, op_type: str, *inputs: oir.Value) -> oir.Value: ...
    def cast(self, value: oir.Value, dtype: oir.DataType) -> oir.Value: ...
    def require(self, condition: oir.Value) -> None: ...
    def fresh_symbol(self) -> Dim: ...
    def reshape(self, value: oir.Value, shape: Shape) -> oir.Value: ...


class SizeNodes:
    """The origins of a graph's symbols, each a size of an input or a computed number, and nodes for sizes."""

    def __init__(self) -> None:
        #: By symbol an input and its axis, whose size is ``k * symbol + rest``.
        self._origins: dict[str, tuple[oir.Value, int, int, Size]] = {}
        #: The symbols of the elements of computed values; by symbol, the elements as a vector, and the place in it.
        self._elements: dict[oir.Value, list[Dim]] = {}
        self._places: dict[str, tuple[oir.Value, int]] = {}

    def elements(self, b: Graph, value: oir.Value) -> list[Dim]:
        """The elements of computed integers as sizes, of which nothing is known."""
        if value not in self._elements:
            count = math.prod(size for size in b.shape(value) if isinstance(size, int))
            vector = b.cast(b.reshape(value, (count,)), INT64)
            symbols = [b.fresh_symbol() for _ in range(count)]
            b.facts.floors.update(dict.fromkeys(map(str, symbols), -math.inf))
            self._places |= {str(symbol): (vector, place) for place, symbol in enumerate(symbols)}
            self._elements[value] = symbols
        return self._elements[value]

    def learn(self, b: Graph, value: oir.Value) -> bool:
        """Note the symbols that an input's sizes tell, given those known so far; whether there are new ones."""
        before = len(self._origins)
        for axis, size in enumerate(b.shape(value)):
            solution = solved(size, list(self._origins))
            if solution is not None:
                name, k, rest = solution
                self._origins[name] = (value, axis, k, rest)
        return len(self._origins) > before

    def hold(self, b: Graph, inputs: Sequence[oir.Value]) -> None:
        """Require at run time that every size of the inputs agrees with the symbols.

        ONNX Runtime does not compare dimensions of equal names: one of size 1 would be broadcast to the other.
        """
        while any(self.learn(b, value) for value in inputs):
            pass
        origins = {(value, axis) for value, axis, k, rest in self._origins.values() if (k, rest) == (1, 0)}
        for value in inputs:
            for axis, size in enumerate(b.shape(value)):
                if isinstance(size, Dim) and (value, axis) not in origins:
                    b.require(b.truth("Equal", _axis_size(b, value, axis), self.node(b, size)))

    def node(self, b: Graph, size: Size) -> oir.Value:
        """A size as a vector of one element."""
        if isinstance(size, int):
            return b.integers([size])
        total: oir.Value | None = None
        for monomial, k in size.terms:
            product: oir.Value | None = None if k == 1 and monomial else b.integers([k])
            for atom in monomial:
                factor = self._call(b, atom) if isinstance(atom, Call) else self._symbol(b, atom)
                product = factor if product is None else b.same_type("Mul", product, factor)
            assert product is not None
            total = product if total is None else b.same_type("Add", total, product)
        assert total is not None
        return total

    def _call(self, b: Graph, call: Call) -> oir.Value:
        size, *others = call.arguments
        a, zero = self.node(b, size), b.integers([0])
        if call.function == "max":
            return b.same_type("Max", a, zero)
        if call.function == "positive":
            return b.cast(b.truth("Greater", a, zero), INT64)
        if call.function == "nonzero":
            return b.cast(b.cast(a, oir.DataType.BOOL), INT64)
        divisor = self.node(b, others[0])
        if not isinstance(others[0], int):
            # ONNX Runtime's process would die of a zero.
            divisor = b.same_type("Max", divisor, b.integers([1]))
        if call.function == "floordiv" and least(size, b.facts.floors) < 0:
            # ONNX rounds towards zero; its Mod has the divisor's sign.
            a = b.same_type("Sub", a, b.same_type("Mod", a, divisor))
        return b.same_type("Div", a, divisor)

    def _symbol(self, b: Graph, name: str) -> oir.Value:
        if isinstance(name, Step):
            return b.reshape(name.turn, (1,))
        if name in self._places:
            vector, place = self._places[name]
            if b.shape(vector) == (1,):
                return vector
            return b.node("Gather", [vector, b.integers([place])], INT64, (1,), axis=0)
        if name not in self._origins:
            raise LoweringError(
                f"dimension {name}: expected a size that an input's shape gives, found one that depends on data"
            )
        value, axis, k, rest = self._origins[name]
        found = _axis_size(b, value, axis)
        found = found if rest == 0 else b.same_type("Sub", found, self.node(b, rest))
        return found if k == 1 else b.same_type("Div", found, b.integers([k]))


def _axis_size(b: Graph, value: oir.Value, axis: int) -> oir.Value:
    return b.node("Shape", [value], INT64, (1,), start=axis, end=axis + 1)
