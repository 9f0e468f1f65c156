"""argmin and argmax in JAX's form: a reduction of elements and their indices along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter.frame import Frame
from swift_export.converter.rules.counting import counts
from swift_export.converter.rules.monoids import Monoid
from swift_export.converter.rules.reduce_extremes import extreme, places_of_extremes

__all__ = ["argument_extreme"]

#: The body that keeps the first of the largest elements (smallest, with LT) and treats NaN as larger than all. Its
#: arguments are an element, its index, another element, its index.
PICK = "or(compare {order}(x0, x2), compare NE(x0, x0))"
FIRST = "and(compare EQ(x0, x2), compare LT(x1, x3))"
BODY = f"select({PICK}, x0, x2), select(or({PICK}, {FIRST}), x1, x3)"
ORDERS = {BODY.format(order="GT"): "maximum", BODY.format(order="LT"): "minimum"}


def argument_extreme(frame: Frame, op: Any) -> Sequence[oir.Value] | None:
    """The extreme elements along an axis and the first index of each; None for another reduction."""
    axes = list(op.attributes["dimensions"])
    if len(op.operands) != 4 or len(axes) != 1:
        return None
    kind = ORDERS.get(_text(op.regions[0].blocks[0]))
    elements, places, first, start = op.operands
    if kind is None or not counts(frame, places, axes[0]):
        return None
    value = frame.full(elements)
    monoid = Monoid.of(kind, frame.dtype(elements))
    origin = frame.known_elements(start)
    zero = origin == [0] or Monoid.of("add", frame.dtype(places)).is_neutral(frame.compact(start))
    if not zero or not monoid.is_neutral(frame.compact(first)):
        return None
    b = frame.builder
    shape = tuple(s for axis, s in enumerate(b.shape(value)) if axis != axes[0])
    chosen = extreme(b, kind, value, axes, shape)
    return [chosen, b.cast(places_of_extremes(b, kind, value, axes[0]), frame.dtype(places))]


def _text(block: Any) -> str:
    """A body in one line, with its arguments named x0, x1, ..."""
    texts = {argument: f"x{i}" for i, argument in enumerate(block.arguments)}
    for op in block.operations:
        operands = ", ".join(texts.get(operand, "?") for operand in op.operands)
        if op.operation.name == "stablehlo.return":
            return operands
        name = op.operation.name.removeprefix("stablehlo.")
        if name == "compare":
            name += " " + str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
        for result in op.results:
            texts[result] = f"{name}({operands})"
    return ""
