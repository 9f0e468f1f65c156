"""Probes of StableHLO files: portable bytecode, and jax.export's own form around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array

from swift_export.formats.stablehlo import deserialize, module_in
from swift_export.models.model import value_name
from swift_export.parity.locate.probes import modules

__all__ = ["places_in", "write_probe"]


def places_in(path: Path, places: Sequence[str]) -> list[str]:
    """Those of ``places`` whose values the file computes."""
    return modules.places_in(module_in(path)[0], places)


def write_probe(path: Path, places: Sequence[str], out: Path) -> None:
    """Write the file with the values at ``places`` as its results."""
    probe, shapes = modules.probe_module(module_in(path)[0], places)
    if path.suffix != ".jax":
        out.write_bytes(probe)
        return
    exported = deserialize(path)
    (bold,) = exported.in_avals
    # The one unknown size of every value is the batch's.
    sizes = [tuple(bold.shape[0] if n is None else n for n in shape) for shape in shapes]

    def shell(bold: Array) -> dict[str, Array]:
        return {value_name(number): jnp.full(size, bold.max()) for number, size in enumerate(sizes)}

    # What jax.export records of a function beside its module: types and names of what comes in and goes out.
    made = export.export(jax.jit(shell), platforms=exported.platforms)(jax.ShapeDtypeStruct(bold.shape, bold.dtype))
    out.write_bytes(dataclasses.replace(made, mlir_module_serialized=probe).serialize())
