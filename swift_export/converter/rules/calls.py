"""Calls, composites, tuples and custom calls without computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.dims import solved
from swift_export.converter.frame import RULES, Frame, rule
from swift_export.converter.kernels import NoKernelError
from swift_export.converter.rules.linear_algebra.routines import lapack_routine
from swift_export.formats.mlir_bindings import ir

__all__: list[str] = []


class Part:
    """A value in a tuple that no op of the module has as its result."""

    def __init__(self, kind: Any) -> None:
        self.type = kind


@rule("stablehlo.tuple")
def make_tuple(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """A name for several values: it makes no nodes."""
    frame.parts[op.results[0]] = list(op.operands)
    return []


@rule("stablehlo.get_tuple_element", attributes=["index"])
def get_tuple_element(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """One of the values."""
    return frame.take(op, frame, [frame.parts[op.operands[0]][op.attributes["index"].value]])


@rule("func.call", attributes=["callee"])
def call(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Translate the callee in place."""
    return frame.call(op, frame.functions[op.attributes["callee"].value], list(op.operands))


@rule("stablehlo.composite", attributes=["name", "decomposition", "composite_attributes", "version"])
def composite(frame: Frame, op: Any) -> oir.Value | Sequence[oir.Value]:
    """A composite that represents one op with a rule becomes that op; any other becomes its decomposition."""
    name = op.attributes["name"].value
    attributes = {a.name: a.attr for a in op.attributes.get("composite_attributes", ())}
    if name.startswith("chlo.") and name in RULES and attributes.keys() <= RULES[name].attributes:
        try:
            return RULES[name].translate(frame, Renamed(op, name, attributes))
        except NoKernelError:
            # The decomposition has kernels for more types: Erf, for example, has one only for float32.
            pass
    return frame.call(op, frame.functions[op.attributes["decomposition"].value], list(op.operands))


class Renamed:
    """A composite or custom call as the op that it represents."""

    def __init__(self, op: Any, name: str, attributes: Mapping[str, Any], results: Sequence[Any] | None = None) -> None:
        self.operands, self.results = op.operands, op.results if results is None else results
        self.attributes = attributes
        self.location, self.name = op.location, name

    @property
    def operation(self) -> Renamed:
        return self


def _assert(frame: Frame, op: Any) -> None:
    """Make the file refuse the sizes that the program refuses, except empty ones, which give empty results."""
    condition = op.operands[0]
    known = frame.known_elements(condition)
    if known is not None and all(isinstance(k, int) for k in known):
        if not all(known):
            raise frame.error(op, f"never holds: {op.attributes['error_message'].value}")
        return
    bound = _lower_bound(frame, condition)
    if bound is not None:
        name, number = bound
        asserted = frame.builder.facts.asserted
        asserted[name] = max(number, asserted.get(name, 0))
        if number <= 1:
            return
    if frame.builder.is_body:
        raise frame.error(op, "an assertion inside a loop or branch: the file can only hold what is known before it")
    frame.builder.require(frame.full(condition))


def _lower_bound(frame: Frame, condition: Any) -> tuple[str, int] | None:
    """The symbol and its least size if a condition requires nothing else."""
    compare = condition.owner
    if compare.name != "stablehlo.compare" or "GE" not in str(compare.attributes["comparison_direction"]):
        return None
    sizes, bounds = (frame.known_elements(v) for v in compare.operands)
    if sizes is None or bounds is None or not isinstance(bounds[0], int):
        return None
    solution = solved(sizes[0])
    if solution is None or not isinstance(rest := solution[2], int):
        return None
    name, k, _ = solution
    return name, -((rest - bounds[0]) // k)


#: Attributes of a custom call that do not affect its result.
CALL_ATTRIBUTES = (
    "call_target_name",
    "has_side_effect",
    "error_message",
    "api_version",
    "backend_config",
    "called_computations",
    "operand_layouts",
    "output_operand_aliases",
    "result_layouts",
    "indices_of_shape_operands",
    "mhlo.attributes",
    "mhlo.backend_config",
    "mhlo.version",
    "sdy.sharding_rule",
)


@rule("stablehlo.custom_call", attributes=CALL_ATTRIBUTES)
def custom_call(frame: Frame, op: Any) -> oir.Value | Sequence[oir.Value]:
    """JAX's assertions about shapes, older forms of ops beyond StableHLO, and calls with a rule."""
    if len(op.results) == 1 and isinstance(op.results[0].type, ir.TupleType):
        parts = [Part(kind) for kind in mlir.leaves(op.results[0].type)]
        values = _custom_call(frame, Renamed(op, op.operation.name, op.attributes, parts))
        for part, value in zip(parts, [values] if isinstance(values, oir.Value) else values, strict=True):
            frame.set(op, part, value)
        frame.parts[op.results[0]] = parts
        return []
    return _custom_call(frame, op)


def _custom_call(frame: Frame, op: Any) -> oir.Value | Sequence[oir.Value]:
    target = op.attributes["call_target_name"].value
    name = f"chlo.{target.removeprefix('mhlo.')}"
    plain = len(op.attributes.get("mhlo.attributes", ())) == 0 and "mhlo.backend_config" not in op.attributes
    try:
        if target == "shape_assertion":
            _assert(frame, op)
            return []
        if target.startswith("mhlo.") and name in RULES and plain:
            return RULES[name].translate(frame, Renamed(op, name, {}))
        if f"@{target}" in RULES:
            return RULES[f"@{target}"].translate(frame, op)
    except (AttributeError, LookupError, TypeError, ValueError):
        # No verifier has checked that the call has the operands and attributes that its rule reads.
        raise frame.error(op, f"custom call {target}: its rule does not handle these operands and attributes") from None
    routine = lapack_routine(target)
    if routine is not None:
        raise frame.error(op, f"custom call {target}: no rule translates LAPACK's routine {routine} to ONNX")
    raise frame.error(op, f"custom call {target}: it calls code outside the module, and no rule translates it")
