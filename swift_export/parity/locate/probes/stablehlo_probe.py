"""Probes of StableHLO files: portable bytecode, and jax.export files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export
from jax.extend.mlir import ir
from jaxtyping import Array

from swift_export.formats.element_types import from_mlir
from swift_export.formats.stablehlo import deserialize, module_in
from swift_export.formats.stablehlo_module import main_function, read_module, static_shape
from swift_export.models.model import value_name
from swift_export.parity.locate.probes import modules
from swift_export.runtimes._refining import refine

__all__ = ["places_in", "write_probe"]


def places_in(path: Path, places: Sequence[str]) -> list[str]:
    """The places of ``places`` whose values the file computes."""
    return modules.places_in(module_in(path)[0], places)


def write_probe(path: Path, places: Sequence[str], shapes: Sequence[Sequence[int]], out: Path) -> list[str]:
    """Write the file with those values of ``places`` that it computes as its results; returns their places."""
    source = module_in(path)[0]
    known = modules.places_in(source, places)
    if not known:
        return known
    probe, _ = modules.probe_module(source, known)
    if path.suffix != ".jax":
        out.write_bytes(probe)
        return known
    exported = deserialize(path)
    results = _results(probe, shapes)

    def shell(*_: Array) -> dict[str, Array]:
        return {value_name(number): jnp.zeros(shape, dtype) for number, (shape, dtype) in enumerate(results)}

    # jax.export records a function's types and names of arguments and results beside its module. Sizes of values would
    # be expressions of the inputs' sizes; they are stated for one choice of these.
    arguments = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in exported.in_avals]
    made = export.export(jax.jit(shell, keep_unused=True), platforms=exported.platforms)(*arguments)
    out.write_bytes(dataclasses.replace(made, mlir_module_serialized=probe).serialize())
    return known


def _results(probe: bytes, shapes: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], str]]:
    """Shape and element type of each result of a module, for arguments of these shapes."""
    module = read_module(probe)
    with module.context:
        # A module for several platforms takes the number of one first.
        extra = len(main_function(module).type.inputs) - len(shapes)
    module = read_module(refine(module, [*[()] * extra, *shapes]))
    with module.context:
        kinds = [ir.RankedTensorType(kind) for kind in main_function(module).type.results]
        return [(tuple(n or 0 for n in static_shape(kind)), from_mlir(str(kind.element_type))) for kind in kinds]
