"""Shape arithmetic at translation time: a module's integers as numbers or named sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from swift_export.converter import mlir
from swift_export.converter.dims import Dim, Shape, Size, exact_quotient
from swift_export.converter.size_functions import (
    NOTHING,
    Facts,
    floordiv,
    least,
    maximum,
    minimum,
    most,
    nonzero,
    positive,
    quotient,
    sign,
)
from swift_export.converter.step_symbols import may_wrap

__all__ = ["always", "evaluate"]

#: Longer polynomials are left to the runtime.
MOST_TERMS = 64

#: The result's elements by those of the operands.
Evaluator: TypeAlias = "Callable[..., np.ndarray | None]"


def evaluate(op: Any, known: Mapping[Any, np.ndarray], shapes: Mapping[Any, Shape], facts: Facts) -> np.ndarray | None:
    """The elements of the op's result as an array of int and Dim, or None if the op is not shape arithmetic.

    ``known`` has the elements of earlier results of shape arithmetic, ``shapes`` the shapes of all values. A truth
    value is a bool, or a size that is 0 or 1.
    """
    if len(op.results) != 1:
        return None
    kind = op.results[0].type
    if not (mlir.is_small_integer(kind) or _is_small_truth(kind)):
        return None
    name = op.operation.name
    if name == "stablehlo.constant":
        array = mlir.constant_array(op.attributes["value"])
        return _objects(np.broadcast_to(array, tuple(kind.shape)))
    if name == "stablehlo.get_dimension_size":
        size = shapes[op.operands[0]][op.attributes["dimension"].value]
        return _objects(np.asarray(size, object))
    if name in DECISIVE and _is_small_truth(kind):
        for operand in op.operands:
            if operand in known and all(v is DECISIVE[name] for v in known[operand].reshape(-1).tolist()):
                return known[operand]
    function = EVALUATORS.get(name)
    if function is None or any(operand not in known for operand in op.operands):
        return None
    result = function(op, facts, *[known[operand] for operand in op.operands])
    if result is None:
        return None
    if _is_small_truth(kind):
        return _objects(result, lambda v: bool(v) if isinstance(v, int) else v)
    limit = 2 ** (int(str(kind.element_type).lstrip("iu")) - 1)
    # Numbers that would wrap around are left to the runtime.
    if any(may_wrap(v, limit) for v in result.reshape(-1).tolist()):
        return None
    return result


def _is_small_truth(kind: Any) -> bool:
    """Whether a type is a scalar or short vector of truth values, the types of conditions on shapes."""
    if str(getattr(kind, "element_type", "")) != "i1" or not kind.has_static_shape:
        return False
    return bool(kind.rank <= 1 and math.prod(kind.shape) <= mlir.LONGEST_SHAPE)


def _objects(array: np.ndarray, change: Callable[[Any], Any] = lambda v: v) -> np.ndarray:
    out = np.empty(array.shape, object)
    flat = out.reshape(-1)
    for i, v in enumerate(array.reshape(-1).tolist()):
        flat[i] = change(v)
    return out


def _elementwise(function: Callable[..., Size | None]) -> Evaluator:
    """An op on the elements, by a function of the facts and one element of each operand."""

    def apply(op: Any, facts: Facts, *operands: np.ndarray) -> np.ndarray | None:
        # Operands have one shape, except the scalar condition of a choice and the scalar bounds of a clamp.
        shape = np.broadcast_shapes(*(a.shape for a in operands))
        columns = [np.broadcast_to(a, shape).reshape(-1).tolist() for a in operands]
        results = [function(facts, *row) for row in zip(*columns, strict=True)]
        if any(r is None or (isinstance(r, Dim) and len(r.terms) > MOST_TERMS) for r in results):
            return None
        out = np.empty(shape, object)
        for i, r in enumerate(results):
            out.reshape(-1)[i] = r
        return out

    return apply


def _divide(facts: Facts, a: Size, b: Size) -> Size | None:
    # StableHLO rounds towards zero.
    if most(b, facts.floors) < 0:
        a, b = -a, -b
    if least(b, facts.floors) <= 0:
        return exact_quotient(a, b)
    divided = quotient(a, b, facts)
    for result in (divided, a - divided * b):
        facts.divisions.setdefault(result, {})[a, b] = divided
    return divided


def _remainder(facts: Facts, a: Size, b: Size) -> Size | None:
    divided = _divide(facts, a, b)
    return None if divided is None else a - divided * b


def _holds(facts: Facts, direction: str, a: Size, b: Size) -> Size:
    """The result of a comparison, 0 or 1."""
    match direction:
        case "EQ":
            return 1 - nonzero(a - b, facts)
        case "NE":
            return nonzero(a - b, facts)
        case "GT":
            return positive(a - b, facts)
        case "LT":
            return positive(b - a, facts)
        case "GE":
            return 1 - positive(b - a, facts)
        case _:
            return 1 - positive(a - b, facts)


def always(direction: str, a: Size, b: Size, facts: Facts = NOTHING) -> bool:
    """Whether a comparison is true for all values of the unknown sizes and steps."""
    return _holds(facts, direction, a, b) == 1


def _clamp(facts: Facts, low: Size, a: Size, high: Size) -> Size:
    return minimum(maximum(a, low, facts), high, facts)


def _compare(op: Any, facts: Facts, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    direction = str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
    return _elementwise(lambda facts, x, y: _holds(facts, direction, x, y))(op, facts, a, b)


def _choose(facts: Facts, condition: Size, a: Size, b: Size) -> Size:
    if isinstance(condition, int):
        return a if condition else b
    rounded = _rounded_down(facts, condition, a, b)
    return b + condition * (a - b) if rounded is None else rounded


def _rounded_down(facts: Facts, condition: Size, a: Size, b: Size) -> Size | None:
    """The quotient and remainder of a division that rounds down, in JAX's form: those of the division that rounds
    towards zero, corrected where a remainder has the other sign than the divisor.
    """
    for (x, y), divided in facts.divisions.get(b, {}).items():
        rest = x - divided * y
        inexact = nonzero(rest, facts)
        apart = nonzero(sign(x, facts) - sign(y, facts), facts)
        if (condition, a, b) == (apart * inexact, divided - 1, divided):
            return floordiv(x, y)
        if (condition, a, b) == (positive(-rest, facts) * inexact, rest + y, rest):
            return x - floordiv(x, y) * y
    return None


def _logical(function: Callable[[int, int], int], on_truths: Callable[[Size, Size], Size]) -> Evaluator:
    """An op on truth values, as polynomials, or on the bits of numbers."""

    def apply(op: Any, facts: Facts, *operands: np.ndarray) -> np.ndarray | None:
        if _is_small_truth(op.results[0].type):
            return _elementwise(lambda facts, a, b: on_truths(a, b))(op, facts, *operands)
        both = _elementwise(lambda facts, a, b: function(a, b) if isinstance(a, int) and isinstance(b, int) else None)
        return both(op, facts, *operands)

    return apply


def _not(op: Any, facts: Facts, a: np.ndarray) -> np.ndarray | None:
    truth = _is_small_truth(op.results[0].type)
    return _elementwise(lambda facts, v: 1 - v if truth else -1 - v)(op, facts, a)


def _convert(op: Any, facts: Facts, a: np.ndarray) -> np.ndarray | None:
    def number(facts: Facts, v: Size) -> Size:
        return int(v) if isinstance(v, bool) else v

    def truth(facts: Facts, v: Size) -> Size:
        return v if _is_small_truth(op.operands[0].type) else nonzero(v, facts)

    return _elementwise(truth if _is_small_truth(op.results[0].type) else number)(op, facts, a)


def _concatenate(op: Any, facts: Facts, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=op.attributes["dimension"].value)


def _slice(op: Any, facts: Facts, a: np.ndarray) -> np.ndarray:
    ranges = [list(op.attributes[k]) for k in ("start_indices", "limit_indices", "strides")]
    return a[tuple(slice(*r) for r in zip(*ranges, strict=True))]


def _broadcast(op: Any, facts: Facts, a: np.ndarray) -> np.ndarray | None:
    dims = list(op.attributes["broadcast_dimensions"])
    target = tuple(op.results[0].type.shape)
    shape = [1] * len(target)
    for axis, size in zip(dims, a.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(a.reshape(shape), target)


#: Truth values that decide a result regardless of the other operand.
DECISIVE = {"stablehlo.and": False, "stablehlo.or": True}

EVALUATORS: dict[str, Evaluator] = {
    "stablehlo.add": _elementwise(lambda facts, a, b: a + b),
    "stablehlo.subtract": _elementwise(lambda facts, a, b: a - b),
    "stablehlo.multiply": _elementwise(lambda facts, a, b: a * b),
    "stablehlo.divide": _elementwise(_divide),
    "stablehlo.remainder": _elementwise(_remainder),
    "stablehlo.maximum": _elementwise(lambda facts, a, b: maximum(a, b, facts)),
    "stablehlo.minimum": _elementwise(lambda facts, a, b: minimum(a, b, facts)),
    "stablehlo.clamp": _elementwise(_clamp),
    "stablehlo.negate": _elementwise(lambda facts, a: -a),
    "stablehlo.abs": _elementwise(lambda facts, a: maximum(a, -a, facts)),
    "stablehlo.sign": _elementwise(lambda facts, a: sign(a, facts)),
    "stablehlo.compare": _compare,
    "stablehlo.select": _elementwise(_choose),
    "stablehlo.and": _logical(operator.and_, lambda a, b: a * b),
    "stablehlo.or": _logical(operator.or_, lambda a, b: a + b - a * b),
    "stablehlo.xor": _logical(operator.xor, lambda a, b: a + b - 2 * a * b),
    "stablehlo.not": _not,
    "stablehlo.convert": _convert,
    "stablehlo.reshape": lambda op, facts, a: a.reshape(tuple(op.results[0].type.shape)),
    "stablehlo.broadcast_in_dim": _broadcast,
    "stablehlo.concatenate": _concatenate,
    "stablehlo.slice": _slice,
}
