"""Reads the comparator of a sort: the operands that it orders by, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swift_export.converter import mlir

__all__ = ["Key", "sort_keys"]


@dataclass(frozen=True)
class Key:
    """An operand that a sort orders by. Floats are in IEEE 754's total order, with signs; ``one_zero`` makes -0.0 equal
    to 0.0, and ``one_nan`` makes all NaNs equal and larger than infinity.
    """

    operand: int
    descending: bool
    one_zero: bool
    one_nan: bool


@dataclass(frozen=True)
class _Element:
    """An argument of the comparator, with zeros or NaNs possibly made equal."""

    argument: int
    one_zero: bool = False
    one_nan: bool = False


@dataclass(frozen=True)
class _Comparison:
    """``left direction right``, in the total order of floats or in IEEE's."""

    direction: str
    left: _Element
    right: _Element
    total: bool


def sort_keys(block: Any) -> list[Key] | None:
    """The keys of a comparator, the most significant first; None for an unknown structure.

    Known structures are strict comparisons of an operand's two elements and JAX's lexicographic order,
    ``a0 < b0 or (a0 == b0 and ...)``; zeros and NaNs may be made equal before the comparison.
    """
    return _keys(list(block.operations)[-1].operands[0], list(block.arguments))


def _keys(value: Any, arguments: Sequence[Any]) -> list[Key] | None:
    operation = _producer(value)
    if operation is None:
        return None
    if operation.name == "stablehlo.or":
        for strict, rest in (operation.operands, list(operation.operands)[::-1]):
            comparison, both = _comparison(strict, arguments), _producer(rest)
            if comparison is None or both is None or both.name != "stablehlo.and":
                continue
            for equal, later in (both.operands, list(both.operands)[::-1]):
                key, further = _key(comparison), _keys(later, arguments)
                if key and further and _equals(_comparison(equal, arguments), comparison):
                    return [key, *further]
        return None
    comparison = _comparison(value, arguments)
    key = None if comparison is None else _key(comparison)
    return None if key is None else [key]


def _key(comparison: _Comparison) -> Key | None:
    left, right = comparison.left, comparison.right
    # The arguments are one pair of elements per operand.
    operand = left.argument // 2
    pair = {2 * operand, 2 * operand + 1} == {left.argument, right.argument}
    alike = (left.one_zero, left.one_nan) == (right.one_zero, right.one_nan)
    if not (pair and alike and comparison.direction in ("LT", "GT")):
        return None
    descending = (comparison.direction == "GT") == (left.argument < right.argument)
    # IEEE's comparisons do not order NaN, so any place is right.
    return Key(operand, descending, left.one_zero or not comparison.total, left.one_nan or not comparison.total)


def _equals(equal: _Comparison | None, strict: _Comparison) -> bool:
    """Whether a comparison tests equality of the elements that a strict one compares, in the same order."""
    if equal is None or equal.direction != "EQ" or equal.total != strict.total:
        return False
    return {equal.left, equal.right} == {strict.left, strict.right}


def _comparison(value: Any, arguments: Sequence[Any]) -> _Comparison | None:
    operation = _producer(value)
    if operation is None or operation.name != "stablehlo.compare":
        return None
    left, right = (_element(operand, arguments) for operand in operation.operands)
    if left is None or right is None:
        return None
    kind = str(operation.attributes["compare_type"]) if "compare_type" in operation.attributes else ""
    return _Comparison(_direction(operation), left, right, "TOTALORDER" in kind)


def _element(value: Any, arguments: Sequence[Any]) -> _Element | None:
    """An argument itself, or JAX's ``select(x == 0, 0, x)``, ``select(x != x, nan, x)`` or both."""
    if value in arguments:
        return _Element(arguments.index(value))
    operation = _producer(value)
    if operation is None or operation.name != "stablehlo.select":
        return None
    condition, chosen, otherwise = operation.operands
    inner, test, constant = _element(otherwise, arguments), _producer(condition), _constant(chosen)
    if inner is None or constant is None or test is None or test.name != "stablehlo.compare":
        return None
    left, right = test.operands
    if left != arguments[inner.argument]:
        return None
    if _direction(test) == "EQ" and _constant(right) == 0 and _is(constant, 0.0):
        return replace(inner, one_zero=True)
    if _direction(test) == "NE" and right == left and _is(constant, np.nan):
        return replace(inner, one_nan=True)
    return None


def _is(constant: float, wanted: float) -> bool:
    """Whether numbers are equal, including the sign."""
    return np.array_equal(constant, wanted, equal_nan=True) and bool(np.signbit(constant) == np.signbit(wanted))


def _constant(value: Any) -> float | None:
    operation = _producer(value)
    if operation is None or operation.name != "stablehlo.constant":
        return None
    return float(mlir.constant_array(operation.attributes["value"]))


def _direction(compare: Any) -> str:
    return str(compare.attributes["comparison_direction"]).split()[-1].rstrip(">")


def _producer(value: Any) -> Any:
    """The op that makes a value; None for an argument."""
    return value.owner if hasattr(value.owner, "operands") else None
