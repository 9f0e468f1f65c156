"""Shape arithmetic at translation time: a module's integers as numbers or named sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from swift_export.converter import mlir
from swift_export.converter.dims import Shape, Size, exact_quotient

__all__ = ["evaluate"]


def evaluate(op: Any, known: Mapping[Any, np.ndarray], shapes: Mapping[Any, Shape]) -> np.ndarray | None:
    """The elements of the op's result as an array of int and Dim, or None if the op is not shape arithmetic.

    ``known`` has the elements of earlier results of shape arithmetic, ``shapes`` the shapes of all values.
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
    result = function(op, *[known[operand] for operand in op.operands])
    if result is None:
        return None
    if _is_small_truth(kind):
        return _truths(result)
    limit = 2 ** (int(str(kind.element_type).lstrip("iu")) - 1)
    # Numbers that would wrap around are left to the runtime.
    if any(isinstance(v, int) and not -limit <= v < limit for v in result.reshape(-1).tolist()):
        return None
    return result


def _is_small_truth(kind: Any) -> bool:
    """Whether a type is a scalar or short vector of truth values, the types of conditions on shapes."""
    if str(getattr(kind, "element_type", "")) != "i1" or not kind.has_static_shape:
        return False
    return bool(kind.rank <= 1 and math.prod(kind.shape) <= mlir.LONGEST_SHAPE)


def _truths(array: np.ndarray) -> np.ndarray | None:
    """Whether elements are not zero; None if that depends on unknown sizes."""
    found = [_holds("NE", v, 0) for v in array.reshape(-1).tolist()]
    return None if any(v is None for v in found) else _objects(np.asarray(found, bool).reshape(array.shape))


def _objects(array: np.ndarray) -> np.ndarray:
    out = np.empty(array.shape, object)
    flat = out.reshape(-1)
    for i, v in enumerate(array.reshape(-1).tolist()):
        flat[i] = v
    return out


def _elementwise(function: Callable[..., Size | None]) -> Callable[..., np.ndarray | None]:
    def apply(op: Any, *operands: np.ndarray) -> np.ndarray | None:
        # Operands have one shape, except the scalar condition of a choice and the scalar bounds of a clamp.
        shape = np.broadcast_shapes(*(a.shape for a in operands))
        columns = [np.broadcast_to(a, shape).reshape(-1).tolist() for a in operands]
        results = [function(*row) for row in zip(*columns, strict=True)]
        if any(r is None for r in results):
            return None
        out = np.empty(shape, object)
        for i, r in enumerate(results):
            out.reshape(-1)[i] = r
        return out

    return apply


def _divide(a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        # StableHLO rounds towards zero.
        return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return exact_quotient(a, b)


def _remainder(a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        return None if b == 0 else abs(a) % abs(b) * (1 if a >= 0 else -1)
    return None if exact_quotient(a, b) is None else 0


def _bounds(size: Size) -> tuple[float, float]:
    """Bounds of a size over all values of its unknown sizes, which are never negative."""
    if isinstance(size, int):
        return size, size
    constant = sum(k for monomial, k in size.terms if not monomial)
    signs = {k > 0 for monomial, k in size.terms if monomial}
    return (constant if signs == {True} else -math.inf), (constant if signs == {False} else math.inf)


def _holds(direction: str, a: Size, b: Size) -> bool | None:
    """The result of a comparison; None if it depends on unknown sizes."""
    if direction in ("GT", "GE"):
        return _holds({"GT": "LT", "GE": "LE"}[direction], b, a)
    least, most = _bounds(a - b)
    if direction in ("EQ", "NE"):
        if least == most == 0:
            return direction == "EQ"
        return direction == "NE" if least > 0 or most < 0 else None
    if direction == "LE":
        return True if most <= 0 else False if least > 0 else None
    return True if most < 0 else False if least >= 0 else None


def _maximum(a: Size, b: Size) -> Size | None:
    larger = _holds("GE", a, b)
    return None if larger is None else a if larger else b


def _minimum(a: Size, b: Size) -> Size | None:
    smaller = _holds("LE", a, b)
    return None if smaller is None else a if smaller else b


def _clamp(low: Size, a: Size, high: Size) -> Size | None:
    larger = _maximum(a, low)
    return None if larger is None else _minimum(larger, high)


def _sign(a: Size) -> Size | None:
    for direction, sign in (("LT", -1), ("EQ", 0), ("GT", 1)):
        if _holds(direction, a, 0):
            return sign
    return None


def _absolute(a: Size) -> Size | None:
    negative = _holds("LT", a, 0)
    return None if negative is None else -a if negative else a


def _compare(op: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    direction = str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
    return _elementwise(lambda x, y: _holds(direction, x, y))(op, a, b)


def _bitwise(function: Callable[[int, int], int]) -> Callable[..., np.ndarray | None]:
    return _elementwise(lambda a, b: function(a, b) if isinstance(a, int) and isinstance(b, int) else None)


def _not(op: Any, a: np.ndarray) -> np.ndarray | None:
    truth = _is_small_truth(op.results[0].type)
    return _elementwise(lambda v: (not v if truth else ~v) if isinstance(v, int) else None)(op, a)


def _choose(condition: bool, a: Size, b: Size) -> Size:
    return a if condition else b


def _concatenate(op: Any, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=op.attributes["dimension"].value)


def _slice(op: Any, a: np.ndarray) -> np.ndarray:
    ranges = [list(op.attributes[k]) for k in ("start_indices", "limit_indices", "strides")]
    return a[tuple(slice(*r) for r in zip(*ranges, strict=True))]


def _broadcast(op: Any, a: np.ndarray) -> np.ndarray | None:
    dims = list(op.attributes["broadcast_dimensions"])
    target = tuple(op.results[0].type.shape)
    shape = [1] * len(target)
    for axis, size in zip(dims, a.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(a.reshape(shape), target)


#: Truth values that decide a result regardless of the other operand.
DECISIVE = {"stablehlo.and": False, "stablehlo.or": True}

EVALUATORS: dict[str, Callable[..., np.ndarray | None]] = {
    "stablehlo.add": _elementwise(lambda a, b: a + b),
    "stablehlo.subtract": _elementwise(lambda a, b: a - b),
    "stablehlo.multiply": _elementwise(lambda a, b: a * b),
    "stablehlo.divide": _elementwise(_divide),
    "stablehlo.remainder": _elementwise(_remainder),
    "stablehlo.maximum": _elementwise(_maximum),
    "stablehlo.minimum": _elementwise(_minimum),
    "stablehlo.clamp": _elementwise(_clamp),
    "stablehlo.negate": _elementwise(lambda a: -a),
    "stablehlo.abs": _elementwise(_absolute),
    "stablehlo.sign": _elementwise(_sign),
    "stablehlo.compare": _compare,
    "stablehlo.select": _elementwise(_choose),
    "stablehlo.and": _bitwise(operator.and_),
    "stablehlo.or": _bitwise(operator.or_),
    "stablehlo.xor": _bitwise(operator.xor),
    "stablehlo.not": _not,
    "stablehlo.convert": _elementwise(lambda a: int(a) if isinstance(a, bool) else a),
    "stablehlo.reshape": lambda op, a: a.reshape(tuple(op.results[0].type.shape)),
    "stablehlo.broadcast_in_dim": _broadcast,
    "stablehlo.concatenate": _concatenate,
    "stablehlo.slice": _slice,
}
