"""Real tensors of a module as expressions: their operators insert StableHLO ops at the current insertion point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swift_export.formats.mlir_bindings import ir

__all__ = ["Real", "insert", "where"]


def insert(name: str, kind: Any, operands: Sequence[Any], attributes: Mapping[str, Any] | None = None) -> Any:
    """Insert an op with one result, and return the result."""
    return ir.Operation.create(name, [kind], list(operands), dict(attributes or {})).results[0]


@dataclass(frozen=True, eq=False)
class Real:
    """A real tensor. Numbers become constants of its type and shape; ``number`` is its one element, if known."""

    value: Any
    number: float | None = None

    def constant(self, number: float) -> Real:
        """A tensor of this one's type and shape with one number everywhere."""
        attribute = ir.FloatAttr.get(self.value.type.element_type, number)
        return Real(insert("chlo.constant_like", self.value.type, [self.value], {"value": attribute}), number)

    def unary(self, name: str) -> Real:
        """An elementwise op without other operands."""
        return Real(insert(f"stablehlo.{name}", self.value.type, [self.value]))

    def binary(self, name: str, other: Real | float) -> Real:
        """An elementwise op with another tensor or a number."""
        return Real(insert(f"stablehlo.{name}", self.value.type, [self.value, self._like(other).value]))

    def compare(self, direction: str, other: Real | float) -> Real:
        """Truth values; NaN differs from everything."""
        kind = ir.RankedTensorType.get(self.value.type.shape, ir.IntegerType.get_signless(1))
        attributes = {
            "comparison_direction": ir.Attribute.parse(f"#stablehlo<comparison_direction {direction}>"),
            "compare_type": ir.Attribute.parse("#stablehlo<comparison_type FLOAT>"),
        }
        return Real(insert("stablehlo.compare", kind, [self.value, self._like(other).value], attributes))

    def __add__(self, other: Real | float) -> Real:
        return self.binary("add", other)

    def __sub__(self, other: Real | float) -> Real:
        return self.binary("subtract", other)

    def __mul__(self, other: Real | float) -> Real:
        return self.binary("multiply", other)

    def __truediv__(self, other: Real | float) -> Real:
        return self.binary("divide", other)

    def __neg__(self) -> Real:
        return self.unary("negate")

    def __abs__(self) -> Real:
        return self.unary("abs")

    def _like(self, other: Real | float) -> Real:
        return other if isinstance(other, Real) else self.constant(other)


def where(condition: Real, a: Real, b: Real | float) -> Real:
    """``a`` where the condition holds, else ``b``."""
    other = b if isinstance(b, Real) else a.constant(b)
    return Real(insert("stablehlo.select", a.value.type, [condition.value, a.value, other.value]))
