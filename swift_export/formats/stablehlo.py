"""Facts of StableHLO files: jax.export files and portable bytecode. jax only parses them, without compiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax import export, tree_util

from swift_export.formats.argument_names import argument_names, result_names, stated_signature
from swift_export.formats.bytecode import portable_version
from swift_export.formats.element_types import from_mlir
from swift_export.formats.facts import Facts, histogram
from swift_export.formats.signature import UNNAMED, Signature, TensorSpec, with_names
from swift_export.formats.stablehlo_module import (
    essentials,
    leaves,
    main_function,
    names_of_results,
    read_module,
    static_shape,
    walk,
)

__all__ = ["deserialize", "module_in", "read_exported", "read_portable"]


def deserialize(path: Path) -> export.Exported:
    """The function that ``jax.export`` serialised into a file."""
    return export.deserialize(bytearray(path.read_bytes()))


def module_in(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The module inside a ``.jax`` or a ``.mlir.bc`` file, and the platforms that it was lowered for.

    Portable files do not name their platforms.
    """
    if path.suffix != ".jax":
        return path.read_bytes(), ()
    exported = deserialize(path)
    return bytes(exported.mlir_module_serialized), tuple(exported.platforms)


def read_exported(path: Path) -> Facts:
    """Facts of a ``jax.export`` file."""
    exported = deserialize(path)
    metadata = essentials(read_module(exported.mlir_module_serialized))
    details = {
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "metadata": metadata,
    }
    # Names from the tree of results: jax may have wrapped the module.
    tree = tree_util.tree_unflatten(exported.out_tree, exported.out_avals)
    notes = [f"result{tree_util.keystr(path)}" for path, _ in tree_util.tree_leaves_with_path(tree)]
    inputs = [_aval_spec(name, aval) for name, aval in _arguments(metadata, exported.in_avals)]
    outputs = map(_aval_spec, result_names(notes), exported.out_avals)
    return Facts("jax", Signature(tuple(inputs), tuple(outputs)), details)


def read_portable(path: Path) -> Facts:
    """Facts of a portable artifact (VHLO bytecode)."""
    data = path.read_bytes()
    module = read_module(data)
    with module.context:
        main, metadata = main_function(module), essentials(module)
        kind = main.attributes["function_type"].value
        inputs = [_mlir_spec(name, kind) for name, kind in _arguments(metadata, kind.inputs)]
        results = [leaf for result in kind.results for leaf in leaves(result)]
        outputs = list(map(_mlir_spec, names_of_results(main), results))
        details = {
            "stablehlo": portable_version(data),
            "ops": histogram(op.operation.name for op in walk(module.operation)),
            "metadata": metadata,
        }
    stated = stated_signature(metadata)
    signature = Signature(
        with_names(inputs, stated.inputs if stated else ()), with_names(outputs, stated.outputs if stated else ())
    )
    return Facts("stablehlo", signature, details)


def _arguments(metadata: Mapping[str, str], kinds: Sequence[Any]) -> zip[tuple[str, Any]]:
    return zip(argument_names(metadata, len(kinds)), kinds, strict=True)


def _aval_spec(name: str, aval: Any) -> TensorSpec:
    return TensorSpec(name, str(aval.dtype), tuple(n if isinstance(n, int) else str(n) for n in aval.shape))


def _mlir_spec(name: str, kind: Any) -> TensorSpec:
    dims = tuple(UNNAMED if size is None else size for size in static_shape(kind))
    return TensorSpec(name, from_mlir(str(kind.element_type)), dims)
