"""Shape arithmetic at translation time: integers of a module as numbers or named sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from swift_export.lowering.onnx import module as mlir
from swift_export.lowering.onnx.dims import Dim, Size, exact_quotient

if TYPE_CHECKING:
    from swift_export.lowering.onnx.frame import Frame

__all__ = ["evaluate"]


def evaluate(frame: Frame, op: Any) -> np.ndarray | None:
    """The elements of the op's result as an array of int and Dim, or None where it is no shape arithmetic."""
    if len(op.results) != 1:
        return None
    kind = op.results[0].type
    if not mlir.is_small_integer(kind):
        return None
    name = op.operation.name
    if name == "stablehlo.constant":
        array = mlir.constant_array(op.attributes["value"])
        return _objects(np.broadcast_to(array, tuple(kind.shape)))
    if name == "stablehlo.get_dimension_size":
        size = frame.shape(op.operands[0])[op.attributes["dimension"].value]
        return _objects(np.asarray(size, object))
    function = EVALUATORS.get(name)
    if function is None or any(operand not in frame.known for operand in op.operands):
        return None
    result = function(op, *[frame.known[operand] for operand in op.operands])
    if result is None:
        return None
    limit = 2 ** (int(str(kind.element_type).lstrip("iu")) - 1)
    # Numbers that would wrap around are left to the runtime's own integers.
    if any(isinstance(v, int) and not -limit <= v < limit for v in result.reshape(-1).tolist()):
        return None
    return result


def _objects(array: np.ndarray) -> np.ndarray:
    out = np.empty(array.shape, object)
    flat = out.reshape(-1)
    for i, v in enumerate(array.reshape(-1).tolist()):
        flat[i] = v
    return out


def _elementwise(function: Callable[[Size, Size], Size | None]) -> Callable[..., np.ndarray | None]:
    def apply(op: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
        results = [function(x, y) for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)]
        if any(r is None for r in results):
            return None
        out = np.empty(a.shape, object)
        for i, r in enumerate(results):
            out.reshape(-1)[i] = r
        return out

    return apply


def _divide(a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        # StableHLO rounds towards zero.
        return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return exact_quotient(a, b)


def _extremum(choose: Callable[[int, int], int]) -> Callable[[Size, Size], Size | None]:
    def apply(a: Size, b: Size) -> Size | None:
        if isinstance(a, int) and isinstance(b, int):
            return choose(a, b)
        if a == b:
            return a
        # A single symbol is the size of an input: never negative.
        for size, bound in ((a, b), (b, a)):
            if isinstance(size, Dim) and isinstance(bound, int) and bound <= 0 and _is_size(size):
                return size if choose is max else bound
        return None

    return apply


def _is_size(size: Dim) -> bool:
    return all(k > 0 for _, k in size.terms)


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


EVALUATORS: dict[str, Callable[..., np.ndarray | None]] = {
    "stablehlo.add": _elementwise(lambda a, b: a + b),
    "stablehlo.subtract": _elementwise(lambda a, b: a - b),
    "stablehlo.multiply": _elementwise(lambda a, b: a * b),
    "stablehlo.divide": _elementwise(_divide),
    "stablehlo.maximum": _elementwise(_extremum(max)),
    "stablehlo.minimum": _elementwise(_extremum(min)),
    "stablehlo.convert": lambda op, a: a,
    "stablehlo.reshape": lambda op, a: a.reshape(tuple(op.results[0].type.shape)),
    "stablehlo.broadcast_in_dim": _broadcast,
    "stablehlo.concatenate": _concatenate,
    "stablehlo.slice": _slice,
}
