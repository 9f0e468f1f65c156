"""Matches values against expressions, written as nested tuples: ``("Add", ("Exp", "x"), 1.0)`` is exp(x) + 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as oir

from swift_export.converter.passes.match import inputs, made_by, scalar

__all__ = ["Template", "match"]

#: A name, for any value, the same one wherever the name occurs; a number, for a constant of one element; or an op type
#: with the templates of its operands.
Template: TypeAlias = "str | float | tuple[Template, ...]"
Found = Mapping[str, oir.Value]

COMMUTATIVE = frozenset({"Add", "And", "Equal", "Max", "Min", "Mul", "Or"})
#: A constant has the template's number if both are the same float32.
ROUNDING = 2.0**-24


def match(value: oir.Value | None, template: Template, known: Found | None = None) -> Found | None:
    """The values of the template's names if a value is computed as it says, else None.

    Operands of commutative ops may have either order. ``known`` holds values of names in advance.
    """
    return next(_matches(value, template, known or {}), None)


def _matches(value: oir.Value | None, template: Template, known: Found) -> Iterator[Found]:
    if value is None:
        return
    if isinstance(template, str):
        if known.get(template, value) is value:
            yield {**known, template: value}
    elif isinstance(template, (int, float)):
        number = scalar(value)
        if number is not None and (number == template or math.isclose(number, template, rel_tol=ROUNDING)):
            yield known
    else:
        op_type, *operands = template
        node = made_by(value, str(op_type))
        if node is not None and len(inputs(node)) == len(operands):
            yield from _all(inputs(node), operands, known)
            if op_type in COMMUTATIVE:
                yield from _all(inputs(node)[::-1], operands, known)


def _all(values: Sequence[oir.Value], templates: Sequence[Template], known: Found) -> Iterator[Found]:
    if not values:
        yield known
        return
    for found in _matches(values[0], templates[0], known):
        yield from _all(values[1:], templates[1:], found)
