"""Values inside a function at its named scopes, read off its jaxpr: the reference's side of locating a fault.

A scope's value is the last float value that is made in it, as exported files name values too. Calls are followed;
bodies of loops and branches are not: what is made in them has no one value.
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

#: Primitives that call a function once, by name: the parameter that holds it, and the scope that lowering adds.
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
    """Named scopes in which ``forward(weights, *inputs)`` makes a float value that matters, of rank one or more.

    They are in the order in which their last such values are made. Weights and inputs are arrays or
    ``jax.ShapeDtypeStruct``.
    """
    last = _traced(forward, weights, inputs).last
    return tuple(sorted(last, key=lambda scope: last[scope][0]))


def values_at(
    forward: Forward, weights: Mapping[str, Any], inputs: Sequence[Any], places: Sequence[str]
) -> dict[str, Array]:
    """The last float value of each of these scopes; can be traced itself. Raises UsageError for an unknown one."""
    trace = _traced(forward, weights, inputs)
    if unknown := [place for place in places if place not in trace.last]:
        raise UsageError(f"places: found {listed(unknown)}, where this function makes no float value")
    wanted = [trace.last[place][1] for place in places]
    return dict(zip(places, trace.compute(jax.tree.leaves((weights, *inputs)), wanted), strict=True))


@dataclass(frozen=True)
class _Step:
    """One primitive that is applied; values are numbers."""

    scope: str
    equation: JaxprEqn
    operands: tuple[int, ...]
    results: tuple[int, ...]


@dataclass
class _Trace:
    """A function as one list of steps, the functions that it calls put in place of their calls."""

    steps: list[_Step] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    #: By scope: the number of the step that makes its last float value, and that value.
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _values: int = 0

    def new_value(self) -> int:
        self._values += 1
        return self._values

    def constant(self, value: Any) -> int:
        self.constants[number := self.new_value()] = value
        return number

    def call(self, jaxpr: Jaxpr, constants: Sequence[int], operands: Sequence[int], scope: str) -> list[int]:
        """Append the steps of a function in place of a call; gives its results."""
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
        """The steps that these values take, in order."""
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
        """These values, for the arrays of the function's arguments."""
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
    # Lowering drops what no output takes; a scope's last value is among the others.
    trace.steps = trace.needed(results)
    trace.name_scopes()
    return trace


def _apply(equation: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The results of one primitive, as a function of nothing else: how primitives are bound is private to JAX."""
    read = [
        (atom, value) for atom, value in zip(equation.invars, operands, strict=True) if not isinstance(atom, Literal)
    ]
    names = DebugInfo("values_at", equation.primitive.name, ("",) * len(read), ("",) * len(equation.outvars))
    alone = Jaxpr((), [atom for atom, _ in read], equation.outvars, [equation], equation.effects, names)
    made: list[Any] = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*(value for _, value in read))
    return made


def _is_map(kind: Any) -> bool:
    return len(getattr(kind, "shape", ())) > 0 and jnp.issubdtype(kind.dtype, jnp.floating)
