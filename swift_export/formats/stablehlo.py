"""Facts of the StableHLO files: jax.export's own form and portable bytecode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.extend.mlir import deserialize_portable_artifact, ir

from swift_export.formats.facts import Facts, essentials_in, histogram
from swift_export.formats.metadata import METADATA_ATTRIBUTE
from swift_export.formats.signature import Signature, TensorSpec

__all__ = ["read_exported", "read_portable"]

T = TypeVar("T")

_DTYPES = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def read_exported(path: Path) -> Facts:
    """Facts of what ``jax.export`` serialised."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    outputs = jax.tree_util.tree_unflatten(exported.out_tree, exported.out_avals)
    named = {
        ".".join(str(getattr(key, "key", key)) for key in keys) or "result": aval
        for keys, aval in jax.tree_util.tree_leaves_with_path(outputs)
    }
    module = _parse(exported.mlir_module_serialized)
    details = {
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "metadata": _metadata(module),
    }
    signature = Signature(
        tuple(_aval_spec(name, aval) for name, aval in _positional(exported.in_avals)),
        tuple(_aval_spec(name, aval) for name, aval in named.items()),
    )
    return Facts("jax", signature, details)


def read_portable(path: Path) -> Facts:
    """Facts of a portable artifact (VHLO bytecode)."""
    data = path.read_bytes()
    module = _parse(data)
    with module.context:
        main: Any = ir.SymbolTable(module.operation)["main"]
        names = [_result_name(main, i) for i in range(len(main.type.results))]
        signature = Signature(
            tuple(_mlir_spec(name, kind) for name, kind in _positional(main.type.inputs)),
            tuple(_mlir_spec(name, kind) for name, kind in zip(names, main.type.results, strict=True)),
        )
        version = re.search(rb"StableHLO_v([\d.]+)\0", data[:64])  # the producer, in the bytecode's header
        details = {
            "stablehlo": version[1].decode() if version else None,
            "ops": histogram(_op_names(module.operation)),
            "metadata": _metadata(module),
        }
    return Facts("stablehlo", signature, details)


def _parse(data: bytes) -> Any:
    return deserialize_portable_artifact(data, ir.Context())


def _metadata(module: Any) -> dict[str, str]:
    attributes = module.operation.attributes
    return essentials_in(attributes[METADATA_ATTRIBUTE].value) if METADATA_ATTRIBUTE in attributes else {}


def _positional(items: Sequence[T]) -> list[tuple[str, T]]:
    # Neither form keeps the names of arguments; exports have one.
    return [("bold" if len(items) == 1 else f"input{i}", item) for i, item in enumerate(items)]


def _aval_spec(name: str, aval: Any) -> TensorSpec:
    return TensorSpec(name, str(aval.dtype), tuple(n if isinstance(n, int) else str(n) for n in aval.shape))


def _mlir_spec(name: str, kind: Any) -> TensorSpec:
    # MLIR leaves free dimensions unnamed; all that an export has is its first, the batch.
    free = [("?" if i else "batch") if kind.is_dynamic_dim(i) else None for i in range(kind.rank)]
    dims = tuple(word or n for word, n in zip(free, kind.shape, strict=True))
    element = str(kind.element_type)
    return TensorSpec(name, _DTYPES.get(element, element), dims)


def _result_name(main: Any, index: int) -> str:
    """``features`` from the note that jax leaves at a result, ``result['features']``."""
    if "res_attrs" not in main.attributes or "jax.result_info" not in main.attributes["res_attrs"][index]:
        return f"result{index}"
    note = str(main.attributes["res_attrs"][index]["jax.result_info"].value)
    found = re.fullmatch(r"result\['(\w+)'\]", note)
    return found[1] if found else note


def _op_names(op: Any) -> Iterator[str]:
    for region in op.regions:
        for block in region:
            for inner in block:
                yield inner.operation.name
                yield from _op_names(inner.operation)
