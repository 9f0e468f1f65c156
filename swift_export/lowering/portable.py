"""Portable StableHLO bytecode of one pinned version, for modules of any origin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jax.extend.mlir import ir, passmanager, serialize_portable_artifact

from swift_export.formats.metadata import METADATA_ATTRIBUTE
from swift_export.formats.stablehlo_module import read_module, walk

__all__ = ["PORTABLE_VERSION", "portable"]

#: StableHLO of late 2024: consumers since then can read it, as StableHLO guarantees 5 years. jax's own default is about
#: four weeks old and too new for TensorFlow 2.21, whose StableHLO is 1.13.
PORTABLE_VERSION = "1.8.0"


def portable(source: bytes, facts: Mapping[str, str], *, composites: bool = True) -> bytes:
    """The module in the pinned version, with the essentials as an attribute.

    ``composites=False`` writes ops beyond StableHLO, like ``chlo.erf``, in the older form: custom calls known to XLA.
    TensorFlow 2.21 fails on a composite's decomposition, whose shapes stay unknown.
    """
    module = read_module(source)
    with module.context:
        if not composites:
            _spell_as_custom_calls(module)
        text = json.dumps(facts, sort_keys=True)
        module.operation.attributes[METADATA_ATTRIBUTE] = ir.StringAttr.get(text)
        return bytes(serialize_portable_artifact(module, PORTABLE_VERSION))


def _spell_as_custom_calls(module: Any) -> None:
    """``stablehlo.composite "chlo.x"`` -> ``stablehlo.custom_call @mhlo.x``; unused decompositions are removed."""
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
