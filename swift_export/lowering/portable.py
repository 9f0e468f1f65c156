"""Portable StableHLO bytecode of one pinned version, whoever made the module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jax.extend.mlir import ir, passmanager, serialize_portable_artifact

from swift_export.formats.metadata import METADATA_ATTRIBUTE
from swift_export.formats.stablehlo_module import read_module, walk

__all__ = ["PORTABLE_VERSION", "portable"]

#: StableHLO of late 2024: consumers of that age and younger read it, and StableHLO promises 5 years. What jax writes
#: by itself, some four weeks old, is too new for TensorFlow 2.21, whose StableHLO is 1.13.
PORTABLE_VERSION = "1.8.0"


def portable(source: bytes, facts: Mapping[str, str], *, composites: bool = True) -> bytes:
    """The module in the pinned version, with the essentials as an attribute.

    ``composites=False`` spells ops beyond StableHLO, as ``chlo.erf``, the older way: as custom calls that XLA knows.
    TensorFlow 2.21 stumbles over the decomposition that a composite keeps, as its shapes stay unknown.
    """
    module = read_module(source)
    with module.context:
        if not composites:
            _spell_as_custom_calls(module)
        text = json.dumps(facts, sort_keys=True)
        module.operation.attributes[METADATA_ATTRIBUTE] = ir.StringAttr.get(text)
        return bytes(serialize_portable_artifact(module, PORTABLE_VERSION))


def _spell_as_custom_calls(module: Any) -> None:
    """``stablehlo.composite "chlo.x"`` -> ``stablehlo.custom_call @mhlo.x``; decompositions go where unused."""
    for op in [op for op in walk(module.operation) if op.operation.name == "stablehlo.composite"]:
        name = op.attributes["name"].value
        if not name.startswith("chlo."):
            continue
        attributes = {
            "call_target_name": ir.StringAttr.get(f"mhlo.{name.removeprefix('chlo.')}"),
            "mhlo.attributes": op.attributes.get("composite_attributes", ir.DictAttr.get({})),
            "mhlo.version": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 1),
        }
        call = ir.Operation.create(
            "stablehlo.custom_call",
            results=[result.type for result in op.results],
            operands=list(op.operands),
            attributes=attributes,
            loc=op.location,
            ip=ir.InsertionPoint(op),
        )
        for old, new in zip(op.results, call.results, strict=True):
            old.replace_all_uses_with(new)
        op.operation.erase()
    passmanager.PassManager.parse("builtin.module(symbol-dce)").run(module.operation)
