"""Measures the ranges of a model's activations on calibration inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from swift_export.errors import InputError
from swift_export.models import CheckInput, Model
from swift_export.parity.float_source import FloatSource
from swift_export.parity.measure.cases import Case, sizes_to_try, write_cases
from swift_export.parity.measure.running import load_outputs, run_artifact
from swift_export.parity.measure.scratch import new_folder
from swift_export.quantization.activation_ranges import ranges_from, write_range_probe
from swift_export.quantization.integer_graph import Range
from swift_export.quantization.products import find_products
from swift_export.quantization.record import Calibration
from swift_export.system.arrays import is_float, little_endian, load_array

__all__ = ["calibrated"]

#: Items of each default calibration input, and how far its seed is from that of the check's input.
_ITEMS, _OTHER_SEED = 2, 1000


def calibrated(
    source: FloatSource, given: Sequence[CheckInput], folder: Path
) -> tuple[tuple[Calibration, ...], dict[str, Range]]:
    """The inputs of the calibration, and the ranges of activations on them, by name; ``folder`` is an empty one.

    Without ``given`` inputs, they are those of a check with another seed. Raises InputError for inputs that do not fit
    the model, are constant, or make activations that are not finite.
    """
    model = source.model
    sources = given or [_reseeded(one) for one in model.check_inputs]
    cases: list[Case] = []
    described = []
    for number, one in enumerate(sources):
        drawn = list(_single_items(model, one, new_folder(folder / f"input{number}")))
        described.append(Calibration(one.name, _digest(one, drawn), len(drawn)))
        cases += drawn
    graph = source.load()
    probe = folder / source.path.name
    names = write_range_probe(graph, find_products(graph.graph, inner_only=True), probe)
    answer = run_artifact(probe, source.target.runtime, "cpu", cases, new_folder(folder / "runs"))
    return tuple(described), ranges_from(names, [load_outputs(run) for run in answer.runs])


def _single_items(model: Model, source: CheckInput, folder: Path) -> Iterator[Case]:
    """The cases of a calibration input: one for each item of a batched model, so that any number fits in memory."""
    if not model.batched:
        yield from write_cases(model, [source], sizes_to_try(model), folder)
        return
    items: int = getattr(source, "items", _ITEMS)
    for case in write_cases(model, [source], [{"batch": model.batch or items}], folder):
        if model.batch is None:
            yield from (Case(case.input, {"batch": 1}, part, (part,)) for part in case.parts)
        else:
            yield case


def _reseeded(source: CheckInput) -> CheckInput:
    """The same kind of input with other values."""
    made: CheckInput = replace(source, seed=source.describe()["seed"] + _OTHER_SEED)  # type: ignore[type-var]
    return made


def _digest(source: CheckInput, cases: Sequence[Case]) -> str:
    """SHA-256 of all arrays; raises InputError for a constant one, which shows no range."""
    digest = hashlib.sha256()
    for case in cases:
        for name, files in sorted(case.files.items()):
            for array in map(load_array, files):
                if is_float(array.dtype) and array.size > 1 and array.min() == array.max():
                    raise InputError(
                        f"{source.name}: {name}: expected different values, found only {array.flat[0]:g}; leave it out"
                    )
                digest.update(little_endian(array).tobytes())
    return digest.hexdigest()
