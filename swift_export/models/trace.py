"""Intermediate values of a function at its named scopes, from its jaxpr: the reference for locating a fault.

A scope's value is the last float value made in it, as in exported files. Calls are followed. Bodies of loops and
branches are not, because their values are not unique.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, DebugInfo, DropVar, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from swift_export.errors import UsageError
from swift_export.formats.scopes import joined, scope_in
from swift_export.system.text import listed

if TYPE_CHECKING:
    from jaxtyping import Array

    from swift_export.models.model import Forward

__all__ = ["scopes", "values_at"]

#: Primitives that call a function once, by name: the parameter with the function, and the scope that lowering adds.
_CALLS = {
    "jit": ("jaxpr", ""),
    "pjit": ("jaxpr", ""),
    "closed_call": ("call_jaxpr", ""),
    "core_call": ("call_jaxpr", ""),
    "custom_jvp_call": ("call_jaxpr", ""),
    "custom_vjp_call": ("call_jaxpr", ""),
    "remat2": ("jaxpr", "checkpoint"),
}


def scopes(forward: Forward, weights: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[str, ...]:
    """Named scopes in which ``forward(weights, *inputs)`` makes a float value of rank one or more that is used.

    They are in the order of their last such values. Weights and inputs are arrays or ``jax.ShapeDtypeStruct``s.
    """
    last = _traced(forward, weights, inputs).last
    return tuple(sorted(last, key=lambda scope: last[scope][0]))


def values_at(
    forward: Forward, weights: Mapping[str, Any], inputs: Sequence[Any], places: Sequence[str]
) -> dict[str, Array]:
    """The last float value of each of these scopes; traceable. Raises UsageError for an unknown scope."""
    trace = _traced(forward, weights, inputs)
    if unknown := [place for place in places if place not in trace.last]:
        raise UsageError(f"places: expected scopes with a float value, found {listed(unknown)}")
    wanted = [trace.last[place][1] for place in places]
    return dict(zip(places, trace.compute(jax.tree.leaves((weights, *inputs)), wanted), strict=True))


@dataclass(frozen=True)
class _Step:
    """One application of a primitive; values are numbered."""

    scope: str
    equation: JaxprEqn
    operands: tuple[int, ...]
    results: tuple[int, ...]


@dataclass
class _Trace:
    """A function as one list of steps, with called functions inlined."""

    steps: list[_Step] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    #: For each scope, the number of the step that makes its last float value, and that value.
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _values: int = 0

    def new_value(self) -> int:
        self._values += 1
        return self._values

    def constant(self, value: Any) -> int:
        self.constants[number := self.new_value()] = value
        return number

    def call(self, jaxpr: Jaxpr, constants: Sequence[int], operands: Sequence[int], scope: str) -> list[int]:
        """Inline a function in place of a call; return its results."""
        numbers = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *operands], strict=True))

        def number(atom: Any) -> int:
            return self.constant(atom.val) if isinstance(atom, Literal) else numbers[atom]

        for equation in jaxpr.eqns:
            own = joined(scope, scope_in(str(equation.source_info.name_stack)))
            given = [number(atom) for atom in equation.invars]
            if equation.primitive.name in _CALLS:
                parameter, inside = _CALLS[equation.primitive.name]
                called = equation.params[parameter]
                closed = called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())
                constants_of_call = [self.constant(value) for value in closed.consts]
                results = self.call(closed.jaxpr, constants_of_call, given, f"{own}/{inside}".strip("/"))
            else:
                results = [self.new_value() for _ in equation.outvars]
                self.steps.append(_Step(own, equation, tuple(given), tuple(results)))
            numbers.update(zip(equation.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def needed(self, wanted: Sequence[int]) -> list[_Step]:
        """The steps needed for these values, in order."""
        alive, steps = set(wanted), []
        for step in reversed(self.steps):
            if alive.intersection(step.results):
                alive.update(step.operands)
                steps.append(step)
        return steps[::-1]

    def name_scopes(self) -> None:
        """Find the last float value of each scope."""
        for number, step in enumerate(self.steps):
            for value, variable in zip(step.results, step.equation.outvars, strict=True):
                if step.scope and not isinstance(variable, DropVar) and _is_map(variable.aval):
                    self.last[step.scope] = number, value

    def compute(self, arrays: Sequence[Any], wanted: Sequence[int]) -> list[Any]:
        """Compute these values from the arrays of the function's arguments."""
        values = self.constants | dict(zip(self.inputs, arrays, strict=True))
        for step in self.needed(wanted):
            made = _apply(step.equation, [values[number] for number in step.operands])
            values.update(zip(step.results, made, strict=True))
        return [values[number] for number in wanted]


def _traced(forward: Callable[..., Any], weights: Mapping[str, Any], inputs: Sequence[Any]) -> _Trace:
    closed = jax.make_jaxpr(forward)(weights, *inputs)
    trace = _Trace()
    trace.inputs = [trace.new_value() for _ in closed.jaxpr.invars]
    constants = [trace.constant(value) for value in closed.consts]
    results = trace.call(closed.jaxpr, constants, trace.inputs, "")
    # Lowering drops unused values, so a scope's last value is chosen among the others.
    trace.steps = trace.needed(results)
    trace.name_scopes()
    return trace


def _apply(equation: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The results of one primitive, evaluated as a function of one step: binding primitives is private to JAX."""
    read = [
        (atom, value) for atom, value in zip(equation.invars, operands, strict=True) if not isinstance(atom, Literal)
    ]
    names = DebugInfo("values_at", equation.primitive.name, ("",) * len(read), ("",) * len(equation.outvars))
    alone = Jaxpr((), [atom for atom, _ in read], equation.outvars, [equation], equation.effects, names)
    made: list[Any] = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*(value for _, value in read))
    return made


def _is_map(kind: Any) -> bool:
    return len(getattr(kind, "shape", ())) > 0 and jnp.issubdtype(kind.dtype, jnp.floating)
