"""Any model in half precision: weights and inputs are converted at the door, and outputs back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from swift_export.errors import LoweringError, SwiftExportError, UsageError
from swift_export.formats.element_types import HALVES
from swift_export.models.model import Forward, Model
from swift_export.models.outputs import symbolic
from swift_export.models.reasons import reason
from swift_export.models.stored_types import LARGEST
from swift_export.system.arrays import dtype_of, is_float

__all__ = ["DOOR_PRECISIONS", "in_precision"]

#: ``mixed`` needs a model that says which parts stay in float32.
DOOR_PRECISIONS = ("float32", *HALVES)

_FLOAT = np.dtype(np.float32)


def in_precision(model: Model, precision: str) -> Model:
    """The model with its float32 weights stored in ``precision`` and its float32 inputs converted to it.

    What it computes from them is up to the function. Outputs have their own types, and the reference stays in float32.
    Raises UsageError for another precision, for a weight or a number in the function that is out of range, and for a
    model that has a precision; LoweringError for a function that does not take such arrays.
    """
    if precision not in DOOR_PRECISIONS:
        raise UsageError(f"--precision {precision}: expected {' or '.join(DOOR_PRECISIONS)} for a model of its own")
    own = model.settings.get("precision", "float32")
    if precision == own:
        return model
    if own != "float32":
        raise UsageError(f"--precision {precision}: model {model.name} is in {own} already; omit the option")
    kind = dtype_of(precision)
    stored = {name: precision for name, array in model.weights.items() if array.dtype == np.float32}
    weights = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in model.weights.items()}
    inputs = symbolic(model.inputs)
    usual = _traced(model, model.forward, weights, inputs)
    shapes: Mapping[str, Any] = jax.eval_shape(model.forward, weights, *inputs)
    half = _Half(model.forward, kind, {name: value.dtype for name, value in shapes.items()})
    narrow = {name: jax.ShapeDtypeStruct(value.shape, stored.get(name, value.dtype)) for name, value in weights.items()}
    traced = _traced(model, half, narrow, inputs)
    number = _out_of_range(traced, usual, kind)
    if number is not None:
        raise UsageError(
            f"model {model.name}: expected numbers up to {LARGEST[precision]} in the function, the largest of "
            f"{precision}, found {number:g}; choose another --precision"
        )
    found = replace(
        model,
        forward=half,
        reference=model.reference or model.forward,
        stored=stored,
        settings={**model.settings, "precision": precision},
    )
    assert found.stored_weights is not None  # raises for a weight out of range
    return found


class _Half:
    """A function with float32 inputs converted to ``kind``, and its results to their own types."""

    def __init__(self, forward: Forward, kind: np.dtype, results: Mapping[str, np.dtype]) -> None:
        self.forward, self.kind, self.results = forward, kind, results

    def __call__(self, weights: Mapping[str, Any], *inputs: Any) -> dict[str, Any]:
        narrow = [value.astype(self.kind) if value.dtype == np.float32 else value for value in inputs]
        found = self.forward(weights, *narrow)
        return {name: value.astype(self.results[name]) for name, value in found.items()}


def _traced(model: Model, forward: Forward, weights: Mapping[str, Any], inputs: list[Any]) -> ClosedJaxpr:
    try:
        return jax.make_jaxpr(forward)(weights, *inputs)
    except (SwiftExportError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise LoweringError(
            f"model {model.name}: it does not take arrays of the chosen --precision: {reason(error)}"
        ) from error


def _out_of_range(traced: ClosedJaxpr, usual: ClosedJaxpr, kind: np.dtype) -> float | None:
    """A number in a function that is infinite in ``kind``, but not in float32."""
    limit = float(LARGEST[kind.name])
    converted = list(_converted(traced.jaxpr, kind, {}))
    lost = [value for value in converted if limit < abs(value) < math.inf]
    if lost:
        return lost[0]
    # Converted while the function was traced.
    infinities = sum(map(math.isinf, _numbers(traced, kind))), sum(map(math.isinf, _numbers(usual, _FLOAT)))
    large = [value for value in _numbers(usual, _FLOAT) if limit < abs(value) < math.inf]
    return large[0] if infinities[0] > infinities[1] and large else None


def _converted(jaxpr: Jaxpr, kind: np.dtype, known: Mapping[Any, float]) -> Iterator[float]:
    """The numbers that a function converts to ``kind``; ``known`` are those of its arguments."""
    values = dict(known)
    for equation in jaxpr.eqns:
        operands = [_number(v) if isinstance(v, Literal) else values.get(v) for v in equation.invars]
        name = equation.primitive.name
        if name in ("broadcast_in_dim", "convert_element_type") and operands[0] is not None:
            values[equation.outvars[0]] = operands[0]
            if _dtype(equation.outvars[0]) == kind and _dtype(equation.invars[0]) != kind:
                yield operands[0]
        for inner in _inner(equation):
            body = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            same = len(body.invars) == len(operands)
            given = {v: n for v, n in zip(body.invars, operands, strict=False) if n is not None} if same else {}
            yield from _converted(body, kind, given)


def _numbers(traced: ClosedJaxpr, kind: np.dtype) -> Iterator[float]:
    """The numbers of an element type that are written in a function."""
    yield from (n for n in map(_number, traced.consts) if n is not None)
    for equation in traced.jaxpr.eqns:
        literals = (v for v in equation.invars if isinstance(v, Literal) and _dtype(v) == kind)
        yield from (n for n in map(_number, literals) if n is not None)
        for inner in _inner(equation):
            yield from _numbers(inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ()), kind)


def _inner(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
        if _is_jaxpr(parameter):
            yield parameter


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, (ClosedJaxpr, Jaxpr))


def _dtype(value: Any) -> np.dtype | None:
    return getattr(value.aval, "dtype", None)


def _number(value: Any) -> float | None:
    """A floating-point constant of one element."""
    array = np.asarray(value.val if isinstance(value, Literal) else value)
    return float(array.reshape(())[()]) if array.size == 1 and is_float(array.dtype) else None
