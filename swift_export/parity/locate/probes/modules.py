"""Probes of StableHLO modules: ``main`` returns intermediate values, found by the scopes of their locations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jax.extend.mlir import ir, serialize_portable_artifact

from swift_export.converter.mlir import functions, main_function, read_module, scope_of, static_shape
from swift_export.formats.element_types import from_mlir
from swift_export.formats.metadata import RESULT_NOTE
from swift_export.lowering.portable import PORTABLE_VERSION
from swift_export.models.model import value_name

__all__ = ["places_in", "probe_module"]


def places_in(source: bytes, places: Sequence[str]) -> list[str]:
    """The places of ``places`` whose values the module computes."""
    module = read_module(source)
    with module.context:
        values = _values(_call_chain(module)[-1])
        return [place for place in places if place in values]


def probe_module(source: bytes, places: Sequence[str]) -> tuple[bytes, list[tuple[tuple[int | None, ...], str]]]:
    """The module with the values at ``places`` as its results, portable, and their shapes and element types.

    Unknown sizes are None.
    """
    module = read_module(source)
    with module.context, ir.Location.unknown():
        *wrappers, innermost = _call_chain(module)
        values = _values(innermost)
        found = [values[place] for place in places]
        kinds = [(static_shape(value), from_mlir(str(value.type.element_type))) for value in found]
        _return(innermost, found)
        for wrapper in reversed(wrappers):
            (call,) = _calls(wrapper)
            types, callee = [value.type for value in found], call.attributes["callee"]
            anew = ir.Operation.create(
                "func.call",
                types,
                list(call.operands),
                {"callee": callee},
                loc=call.location,
                ip=ir.InsertionPoint(call),
            )
            found = list(anew.results)
            _return(wrapper, found)
            call.operation.erase()
        main_function(module).attributes["res_attrs"] = ir.ArrayAttr.get([_named(n) for n in range(len(found))])
        return bytes(serialize_portable_artifact(module, PORTABLE_VERSION)), kinds


def _call_chain(module: Any) -> list[Any]:
    """``main`` and the functions inside that contain the computation: jax.export wraps ``main`` around it."""
    known, way = functions(module), [main_function(module)]
    while not _values(way[-1]) and len(calls := _calls(way[-1])) == 1:
        way.append(known[calls[0].attributes["callee"].value])
    return way


def _values(function: Any) -> Mapping[str, Any]:
    """The last float value of every scope, like the lowering's names in ONNX."""
    return {
        scope: result
        for op in _body(function).operations
        for result in op.operation.results
        if (scope := scope_of(op.location)) and _is_map(result.type)
    }


def _is_map(kind: Any) -> bool:
    return isinstance(kind, ir.RankedTensorType) and kind.rank > 0 and isinstance(kind.element_type, ir.FloatType)


def _calls(function: Any) -> list[Any]:
    return [op for op in _body(function).operations if op.operation.name == "func.call"]


def _body(function: Any) -> Any:
    return function.regions[0].blocks[0]


def _return(function: Any, values: Sequence[Any]) -> None:
    """Make a function return ``values`` instead of its results."""
    body = _body(function)
    last = body.operations[len(body.operations) - 1]
    ir.Operation.create("func.return", operands=list(values), ip=ir.InsertionPoint(last))
    last.operation.erase()
    kind = ir.FunctionType.get([argument.type for argument in body.arguments], [value.type for value in values])
    function.attributes["function_type"] = ir.TypeAttr.get(kind)
    if "res_attrs" in function.attributes:
        del function.attributes["res_attrs"]


def _named(number: int) -> Any:
    return ir.DictAttr.get({RESULT_NOTE: ir.StringAttr.get(f"result['{value_name(number)}']")})
