"""Parses StableHLO modules of any origin and finds their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swift_export.errors import LoweringError
from swift_export.formats.argument_names import result_names
from swift_export.formats.bytecode import MLIR
from swift_export.formats.dense_resources import inline_resources
from swift_export.formats.metadata import METADATA_ATTRIBUTE, RESULT_NOTE, essentials_in
from swift_export.formats.mlir_bindings import PassManager, ir, stablehlo
from swift_export.formats.mlir_context import new_context
from swift_export.formats.module_limits import check_module
from swift_export.formats.quantized import has_quantized_types, know_quantized_types, without_quantized_types

__all__ = [
    "attribute_of",
    "essentials",
    "functions",
    "leaves",
    "main_function",
    "names_of_results",
    "read_module",
    "static_shape",
    "walk",
]


#: Deprecated ops and their replacements; TensorFlow still writes some.
_DEPRECATED = {f"stablehlo.{name}" for name in ("broadcast", "dot", "einsum", "unary_einsum")}


def read_module(source: bytes | str) -> Any:
    """Parse a StableHLO module: a portable artifact (VHLO bytecode), MLIR bytecode or text.

    Quantized types and deprecated ops are replaced, constants in the module's resources become plain ones, and an entry
    of another name is named ``@main``. Raises LoweringError with the parser's first line for any other input, and
    ModuleError for a module beyond the limits.
    """
    module = _parse(source)
    names = check_module(module)
    if has_quantized_types(module, names):
        without_quantized_types(module)
        names = check_module(module)
    _name_entry(module)
    if "stablehlo.constant" in names:
        inline_resources(module, walk(module.operation))
    if names & _DEPRECATED:
        stablehlo.register_stablehlo_passes()
        passes = "builtin.module(func.func(stablehlo-legalize-deprecated-ops{fail-on-unused=false}))"
        PassManager.parse(passes, module.context).run(module.operation)
    return module


def _name_entry(module: Any) -> None:
    """Without ``@main``, the only public function that no other calls is the entry; torch's is called ``@forward``."""
    named = functions(module)
    if "main" in named:
        return
    called = {op.attributes["callee"].value for op in walk(module.operation) if op.operation.name == "func.call"}
    entries = [name for name, function in named.items() if name not in called and _is_public(function)]
    if len(entries) == 1 and named[entries[0]].regions[0].blocks:
        named[entries[0]].attributes["sym_name"] = ir.StringAttr.get("main", module.context)


def _is_public(function: Any) -> bool:
    return "sym_visibility" not in function.attributes or function.attributes["sym_visibility"].value == "public"


def walk(op: Any) -> Iterator[Any]:
    """All ops below ``op``, in order, regions included."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner
                yield from walk(inner)


def main_function(module: Any) -> Any:
    """The module's entry, ``@main``."""
    for op in module.body.operations:
        if op.operation.name == "func.func" and op.attributes["sym_name"].value == "main":
            if not op.regions[0].blocks:
                raise LoweringError("function @main: expected a body, found only a declaration")
            return op
    raise LoweringError("StableHLO module: expected a function @main, found none")


def functions(module: Any) -> dict[str, Any]:
    """All functions by name."""
    return {op.attributes["sym_name"].value: op for op in module.body.operations if op.operation.name == "func.func"}


def leaves(kind: Any) -> list[Any]:
    """The types in a tuple of any depth; of another type, itself."""
    if not isinstance(kind, ir.TupleType):
        return [kind]
    return [leaf for i in range(kind.num_types) for leaf in leaves(kind.get_type(i))]


def static_shape(kind: Any) -> tuple[int | None, ...]:
    """The shape of an MLIR type or value, with None for unknown sizes; raises LoweringError for unranked types."""
    kind = kind if isinstance(kind, ir.Type) else kind.type
    if not isinstance(kind, ir.RankedTensorType):
        raise LoweringError(f"type {kind}: expected a ranked tensor")
    return tuple(None if kind.is_dynamic_dim(i) else kind.get_dim_size(i) for i in range(kind.rank))


def attribute_of(function: Any, group: str, index: int, name: str) -> str | None:
    """Text of one argument or result in a function's ``arg_attrs`` or ``res_attrs``; None if there is no such text."""
    if group not in function.attributes:
        return None
    attributes = function.attributes[group][index]
    return str(attributes[name].value) if name in attributes else None


def names_of_results(function: Any) -> tuple[str, ...]:
    """Names of a function's results, from jax's ``jax.result_info``."""
    count = sum(len(leaves(kind)) for kind in function.attributes["function_type"].value.results)
    return result_names([attribute_of(function, "res_attrs", i, RESULT_NOTE) for i in range(count)])


def essentials(module: Any) -> dict[str, str]:
    """The essentials that an export stored in a module; empty for other modules."""
    attributes = module.operation.attributes
    return essentials_in(attributes[METADATA_ATTRIBUTE].value) if METADATA_ATTRIBUTE in attributes else {}


def _parse(source: bytes | str) -> Any:
    context = new_context()
    if "quant" in source if isinstance(source, str) else b"quant" in source:
        know_quantized_types(context)
    try:
        if isinstance(source, bytes) and source.startswith(MLIR):
            # Portable artifacts are MLIR bytecode of a separate dialect; plain bytecode is parsed directly.
            try:
                return stablehlo.deserialize_portable_artifact(context, source)
            except (ValueError, ir.MLIRError):
                return ir.Module.parse(source, context)
        return ir.Module.parse(source, context)
    except (ValueError, ir.MLIRError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise LoweringError(f"StableHLO module: cannot be parsed: {' '.join(lines[:2])[:300]}") from None
