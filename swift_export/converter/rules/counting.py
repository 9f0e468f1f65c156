"""Integers that count along an axis: 0, 1, 2, ..., as programs write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from swift_export.converter.builder import known
from swift_export.converter.frame import Frame

__all__ = ["counts"]

#: JAX counts along an unknown axis from 0 in steps of 1.
NEUTRAL = {"add": 0, "multiply": 1}


def counts(frame: Frame, value: Any, axis: int) -> bool:
    """Whether the elements of integers are their own indices along an axis."""
    op = getattr(value.owner, "opview", value.owner)
    name = getattr(getattr(op, "operation", None), "name", "").removeprefix("stablehlo.")
    if name in ("iota", "dynamic_iota"):
        return bool(op.attributes["iota_dimension"].value == axis)
    if name in ("broadcast_in_dim", "dynamic_broadcast_in_dim"):
        dimensions, operand = list(op.attributes["broadcast_dimensions"]), op.operands[0]
        place = dimensions.index(axis) if axis in dimensions else None
        same = place is not None and frame.shape(operand)[place] == frame.shape(value)[axis]
        return place is not None and same and counts(frame, operand, place)
    if name == "select":
        # Of indices from the end, as JAX counts: there are none below 0.
        condition, _, index = op.operands
        return _is_negative(frame, condition, index) and counts(frame, index, axis)
    if name in NEUTRAL:
        a, b = op.operands
        return any(_equals(frame, x, NEUTRAL[name]) and counts(frame, y, axis) for x, y in ((a, b), (b, a)))
    elements, shape = known(frame.compact(value)), frame.shape(value)
    if elements is None or elements.ndim != len(shape):
        return False
    wanted = np.arange(elements.shape[axis]).reshape([-1 if a == axis else 1 for a in range(elements.ndim)])
    return shape[axis] == elements.shape[axis] and bool((elements == wanted).all())


def _is_negative(frame: Frame, condition: Any, index: Any) -> bool:
    op = getattr(condition.owner, "opview", condition.owner)
    if getattr(getattr(op, "operation", None), "name", "") != "stablehlo.compare" or op.operands[0] != index:
        return False
    return "LT" in str(op.attributes["comparison_direction"]) and _equals(frame, op.operands[1], 0)


def _equals(frame: Frame, value: Any, number: int) -> bool:
    elements = known(frame.compact(value))
    return elements is not None and bool((elements == number).all())
