"""Limits of a module, which bound the time of reading and translating it: calls are translated in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from swift_export.errors import LoweringError
from swift_export.system.text import shown

__all__ = ["MAX_DEPTH", "MAX_OPS", "ModuleError", "check_module"]

#: Nested calls and regions. Frameworks' modules have about ten levels; Python's own stack ends at about 150.
MAX_DEPTH = 100
#: Operations, with those of a called function counted at each call. The published models have about a thousand.
MAX_OPS = 1_000_000

#: The attributes in which ops name the function that they represent.
_CALLEES = {"func.call": "callee", "stablehlo.composite": "decomposition"}


class ModuleError(LoweringError):
    """A module of well-formed MLIR that cannot be translated."""


@dataclass
class _Body:
    """The ops of one function, and its calls with their depth."""

    ops: int = 0
    depth: int = 0
    names: set[str] = field(default_factory=set)
    calls: list[tuple[str, int]] = field(default_factory=list)


def check_module(module: Any) -> frozenset[str]:
    """The names of all ops of a parsed module.

    Raises ModuleError for recursion, for a call of a function without a body, and beyond `MAX_DEPTH` and `MAX_OPS`.
    """
    functions = {f"@{_name(op)}": op for op in module.body.operations if op.operation.name == "func.func"}
    bodies = {name: _survey(op) for name, op in functions.items()}
    order = _callees_first(bodies)
    ops, depths = dict[str, int](), dict[str, int]()
    for name in order:
        body = bodies[name]
        for callee, _ in body.calls:
            if not functions[callee].regions[0].blocks:
                raise ModuleError(f"function {shown(callee)}: expected a body, found only a declaration")
        ops[name] = body.ops + sum(ops[callee] for callee, _ in body.calls)
        depths[name] = max([body.depth, *(depth + 1 + depths[callee] for callee, depth in body.calls)])
        if depths[name] > MAX_DEPTH:
            raise ModuleError(
                f"function {shown(name)}: expected at most {MAX_DEPTH} nested calls and regions, found {depths[name]}"
            )
        if ops[name] > MAX_OPS:
            raise ModuleError(
                f"function {shown(name)}: expected at most {MAX_OPS:,} operations, including those of its calls, found "
                f"{shown(ops[name])}"
            )
    rest = [op for op in module.body.operations if op.operation.name != "func.func"]
    return frozenset().union(*(body.names for body in bodies.values()), *(_survey(op).names for op in rest))


def _survey(function: Any) -> _Body:
    """Collect a function's ops without recursion: the depth is not known yet."""
    found = _Body(names={function.operation.name})
    stack = [(region, 0) for region in function.regions]
    while stack:
        region, depth = stack.pop()
        found.depth = max(found.depth, depth)
        for block in region.blocks:
            for op in block.operations:
                name = op.operation.name
                found.ops += 1
                found.names.add(name)
                if name in _CALLEES:
                    found.calls.append((f"@{op.attributes[_CALLEES[name]].value}", depth))
                stack += [(inner, depth + 1) for inner in op.regions]
    return found


def _callees_first(bodies: Mapping[str, _Body]) -> list[str]:
    try:
        return [
            *TopologicalSorter({name: {callee for callee, _ in b.calls} for name, b in bodies.items()}).static_order()
        ]
    except CycleError as error:
        circle = error.args[1][::-1]  # in the error's order, each is called by the next
        raise ModuleError(
            f"function {shown(circle[0])} calls itself ({shown(' -> '.join(circle), 300)}): ONNX has no recursion"
        ) from None


def _name(function: Any) -> str:
    return str(function.attributes["sym_name"].value)
