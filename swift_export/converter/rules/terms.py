"""Arithmetic on ONNX values as Python expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as oir

from swift_export.converter.builder import Builder

__all__ = ["FLOATS", "SIGNED", "UNSIGNED", "Term", "unsigned_like"]

DataType = oir.DataType

FLOATS = frozenset({DataType.FLOAT16, DataType.BFLOAT16, DataType.FLOAT, DataType.DOUBLE})
SIGNED = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64})
UNSIGNED = frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64})

_UNSIGNED_LIKE = {1: DataType.UINT8, 2: DataType.UINT16, 4: DataType.UINT32, 8: DataType.UINT64}


def unsigned_like(dtype: oir.DataType) -> oir.DataType:
    """The unsigned integers of the same width."""
    return _UNSIGNED_LIKE[int(dtype.itemsize)]


@dataclass(frozen=True, eq=False)
class Term:
    """A value of a graph. Operators make nodes; plain numbers become constants of the value's type."""

    builder: Builder
    value: oir.Value

    @property
    def dtype(self) -> oir.DataType:
        """The type of the elements."""
        assert self.value.dtype is not None
        return self.value.dtype

    def constant(self, number: float) -> Term:
        """A number as an element of this term's type."""
        return Term(self.builder, self.builder.scalar(number, self.dtype))

    def apply(self, op_type: str, *others: Term | float, **attributes: Any) -> Term:
        """An elementwise op with a result of the same type."""
        return Term(self.builder, self.builder.same_type(op_type, *self._values(others), **attributes))

    def ask(self, op_type: str, *others: Term | float) -> Term:
        """An elementwise op with truth values as its result."""
        return Term(self.builder, self.builder.truth(op_type, *self._values(others)))

    def to(self, dtype: oir.DataType) -> Term:
        """The elements converted by ONNX's Cast."""
        return Term(self.builder, self.builder.cast(self.value, dtype))

    def bits(self, dtype: oir.DataType) -> Term:
        """The elements' bits read as another type of the same width."""
        if dtype == self.dtype:
            return self
        if FLOATS.isdisjoint({dtype, self.dtype}):
            return self.to(dtype)
        shape = self.builder.shape(self.value)
        return Term(self.builder, self.builder.node("BitCast", [self.value], dtype, shape, to=dtype.value))

    def choose(self, a: Term | float, b: Term | float) -> Term:
        """Elements of ``a`` where these values are true, else of ``b``; at least one of the two is a term."""
        if not isinstance(a, Term):
            assert isinstance(b, Term)
            a = b.constant(a)
        elif not isinstance(b, Term):
            b = a.constant(b)
        assert type(a) is type(b)
        return type(a)(self.builder, self.builder.where(self.value, a.value, b.value))

    def opposite(self) -> Term:
        """The opposite truth values, for `choose` with a -0 in its second operand; see `Builder.opposite`."""
        return Term(self.builder, self.builder.opposite(self.value))

    def equals(self, other: Term | float) -> Term:
        """Whether the elements are equal."""
        return self.ask("Equal", other)

    def _values(self, others: tuple[Term | float, ...]) -> list[oir.Value]:
        return [self.value, *((o if isinstance(o, Term) else self.constant(o)).value for o in others)]

    def _bitwise(self, name: str, *others: Term | float) -> Term:
        return self.apply(name if self.dtype == DataType.BOOL else f"Bitwise{name}", *others)

    def __add__(self, other: Term | float) -> Term:
        return self.apply("Add", other)

    __radd__ = __add__

    def __sub__(self, other: Term | float) -> Term:
        return self.apply("Sub", other)

    def __rsub__(self, other: float) -> Term:
        return self.constant(other) - self

    def __mul__(self, other: Term | float) -> Term:
        return self.apply("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Term | float) -> Term:
        return self.apply("Div", other)

    def __rtruediv__(self, other: float) -> Term:
        return self.constant(other) / self

    def __neg__(self) -> Term:
        return self.apply("Neg")

    def __abs__(self) -> Term:
        return self.apply("Abs")

    def __lt__(self, other: Term | float) -> Term:
        return self.ask("Less", other)

    def __le__(self, other: Term | float) -> Term:
        return self.ask("LessOrEqual", other)

    def __gt__(self, other: Term | float) -> Term:
        return self.ask("Greater", other)

    def __ge__(self, other: Term | float) -> Term:
        return self.ask("GreaterOrEqual", other)

    def __and__(self, other: Term | float) -> Term:
        return self._bitwise("And", other)

    def __or__(self, other: Term | float) -> Term:
        return self._bitwise("Or", other)

    def __xor__(self, other: Term | float) -> Term:
        return self._bitwise("Xor", other)

    def __invert__(self) -> Term:
        return self._bitwise("Not")

    def __lshift__(self, other: Term | float) -> Term:
        return self.apply("BitShift", other, direction="LEFT")

    def __rshift__(self, other: Term | float) -> Term:
        return self.apply("BitShift", other, direction="RIGHT")
