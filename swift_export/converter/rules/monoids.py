"""The bodies of reductions: one op that combines two elements, or ops that are applied to whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.frame import Frame
from swift_export.converter.rules.elementwise import extremum
from swift_export.converter.rules.terms import FLOATS, Term

__all__ = ["Combine", "Monoid", "combination", "monoids", "signs_of_zeros"]

DataType = oir.DataType

#: Combines two groups of arrays elementwise; the operands of a reduction are one group.
Combine = Callable[[Sequence[oir.Value], Sequence[oir.Value]], list[oir.Value]]

KINDS = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")
#: On truth values, as the StableHLO specification defines.
LOGIC = {"add": "or", "multiply": "and", "maximum": "or", "minimum": "and"}
OPS = {"add": "Add", "multiply": "Mul", "maximum": "Max", "minimum": "Min"}

#: Elementwise ops: a body of these is applied to whole arrays.
_ELEMENTWISE = (
    "abs add and atan2 cbrt ceil clamp compare constant convert cosine count_leading_zeros divide exponential "
    "exponential_minus_one floor is_finite log log_plus_one logistic maximum minimum multiply negate not "
    "optimization_barrier or popcnt power reduce_precision remainder return round_nearest_afz round_nearest_even "
    "rsqrt select shift_left shift_right_arithmetic shift_right_logical sign sine sqrt subtract tan tanh xor"
)
ELEMENTWISE = frozenset(f"stablehlo.{name}" for name in _ELEMENTWISE.split())


@dataclass(frozen=True)
class Monoid:
    """An associative, commutative op on elements of one type; ``kind`` is one of KINDS."""

    kind: str
    dtype: DataType

    @classmethod
    def of(cls, kind: str, dtype: DataType) -> Monoid:
        """The op of a body, by its kind on these elements."""
        return cls(LOGIC.get(kind, kind) if dtype == DataType.BOOL else kind, dtype)

    @property
    def wide(self) -> DataType:
        """The type in which many elements are combined: narrow floats are rounded once, at the end."""
        return DataType.FLOAT if self.dtype in (DataType.FLOAT16, DataType.BFLOAT16) else self.dtype

    @property
    def is_float_extreme(self) -> bool:
        """Whether the op is the maximum or minimum of floats, for which NaN and the signs of zeros matter."""
        return self.kind in ("maximum", "minimum") and self.dtype in FLOATS

    @property
    def neutral(self) -> np.ndarray:
        """The neutral element."""
        kind = self.dtype.numpy()
        if self.dtype == DataType.BOOL or self.kind not in ("maximum", "minimum", "and"):
            return np.asarray(self.kind in ("multiply", "and"), kind)
        if self.kind == "and":
            return np.asarray(-1).astype(kind)
        if self.dtype in FLOATS:
            return np.asarray(-np.inf if self.kind == "maximum" else np.inf, kind)
        limits = np.iinfo(kind)
        return np.asarray(limits.min if self.kind == "maximum" else limits.max, kind)

    def is_neutral(self, value: oir.Value) -> bool:
        """Whether a value is the neutral constant, regardless of the sign of a zero."""
        constant = value.const_value
        return constant is not None and bool(np.all(np.asarray(constant.numpy()) == self.neutral))

    def plain(self, b: Builder, x: oir.Value, y: oir.Value) -> oir.Value:
        """Combine two arrays. ONNX Runtime may return either of two zeros that differ in sign."""
        if self.kind in OPS:
            # Explicit casts round every result; ONNX Runtime may drop the casts that it adds around an op itself.
            combined = b.same_type(OPS[self.kind], b.cast(x, self.wide), b.cast(y, self.wide))
            return b.cast(combined, x.dtype or self.dtype)
        name = self.kind.capitalize()
        return b.same_type(name if self.dtype == DataType.BOOL else f"Bitwise{name}", x, y)

    def apply(self, b: Builder, x: oir.Value, y: oir.Value) -> oir.Value:
        """Combine two arrays as StableHLO defines."""
        if not self.is_float_extreme:
            return self.plain(b, x, y)
        return extremum(OPS[self.kind], Term(b, x), Term(b, y)).value


def signs_of_zeros(b: Builder, kind: str, value: oir.Value, extreme: Callable[[oir.Value], oir.Value]) -> oir.Value:
    """The extremes of floats with +0 above -0, as IEEE 754-2019 defines; ``extreme`` may confuse zeros.

    If the extreme is a zero, the reciprocals' extreme has its sign: reciprocals of zeros are infinite.
    """
    found = extreme(value)
    dtype = found.dtype
    assert dtype is not None
    zero = b.scalar(0.0, dtype)
    upper = b.truth(
        "Greater" if kind == "maximum" else "GreaterOrEqual", extreme(b.same_type("Reciprocal", value)), zero
    )
    signed = b.where(upper, zero, b.scalar(-0.0, dtype))
    # ONNX Runtime's Where returns 0 for a -0 in its second input.
    return b.where(b.opposite(b.truth("Equal", found, zero)), found, signed)


def monoids(region: Any, types: Sequence[DataType]) -> list[Monoid] | None:
    """The op that a body of independent ops applies to each operand of a reduction; None for another body."""
    block = region.blocks[0]
    arguments, returned = list(block.arguments), list(list(block.operations)[-1].operands)
    n = len(types)
    found = []
    for i, (value, dtype) in enumerate(zip(returned, types, strict=True)):
        op = next((op for op in block.operations if value in list(op.results)), None)
        kind = op.operation.name.removeprefix("stablehlo.") if op is not None else ""
        if op is None or kind not in KINDS or set(op.operands) != {arguments[i], arguments[n + i]}:
            return None
        found.append(Monoid.of(kind, dtype))
    return found


def combination(frame: Frame, op: Any, region: Any) -> Combine:
    """A body of elementwise ops as a function of whole arrays.

    Raises LoweringError for a body with other ops.
    """
    block = region.blocks[0]
    if others := sorted(_op_names(frame, region) - ELEMENTWISE):
        raise frame.error(op, f"body with {', '.join(others)}: the op's rule takes elementwise ops")

    def combine(left: Sequence[oir.Value], right: Sequence[oir.Value]) -> list[oir.Value]:
        inner = frame.copy(frame.builder, _Elements)
        for parameter, value in zip(block.arguments, [*left, *right], strict=True):
            inner.values[parameter], inner.shapes[parameter] = value, ()
        return [inner.compact(value) for value in inner.run(region)]

    return combine


def _op_names(frame: Frame, region: Any) -> set[str]:
    """The ops of a body and of the functions that it calls."""
    names: set[str] = set()
    for op in region.blocks[0].operations:
        if op.operation.name == "func.call":
            names |= _op_names(frame, frame.functions[op.attributes["callee"].value].regions[0])
        elif op.operation.name != "func.return":
            names.add(op.operation.name)
    return names


class _Elements(Frame):
    """A body of scalars, each of which represents all elements of an array."""

    def aligned(self, value: Any) -> oir.Value:
        return self.compact(value)

    def full(self, value: Any) -> oir.Value:
        return self.compact(value)
