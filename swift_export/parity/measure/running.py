"""Runs the reference and the artifacts on the same cases, and compares their outputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from swift_export.errors import CheckFailed
from swift_export.formats.element_types import FLOATING
from swift_export.models import Model
from swift_export.models.model import terms_name, value_name
from swift_export.parity.measure.cases import Case, Files
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.tolerances import Tolerance, allowed_for, of_sums
from swift_export.parity.results import Comparison, Outputs
from swift_export.runtimes.base import Precision, RuntimeInfo
from swift_export.runtimes.messages import Answer, Request, Run, RunResult
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.reference_file import write_reference
from swift_export.runtimes.registry import REFERENCE, Runtime
from swift_export.system.arrays import is_float, load_array

__all__ = [
    "Expected",
    "artifact_request",
    "compare_runs",
    "expected_of",
    "float_types",
    "load_outputs",
    "measure_noise",
    "part_key",
    "refuse_non_finite",
    "run_artifact",
    "run_reference",
    "values_of",
]

#: The reference's outputs for a part of a case, by `part_key`.
Expected = Mapping[tuple[str, ...], Outputs]


def part_key(part: Files) -> tuple[str, ...]:
    """The key of a part: its files."""
    return tuple(file for name in sorted(part) for file in part[name])


def run_reference(
    model: Model, parts: Sequence[Files], folder: Path, places: Sequence[str] = (), *, beside: Files | None = None
) -> tuple[RuntimeInfo, Expected]:
    """The reference's outputs for each part, computed on the CPU.

    With ``places``, the values there instead of the outputs; or ``beside`` the outputs, for this part only.
    They are computed in a separate process if the model can be rebuilt there, else in this one.
    """
    once = list({part_key(part): part for part in parts}.items())
    outputs = () if places and beside is None else model.reference_outputs
    keep = {key: model.reference_outputs for key, _ in once if beside is not None and key != part_key(beside)}
    if model.rebuild is None:
        from swift_export.runtimes.reference import session_of

        session = session_of(model, outputs, places)
        found: dict[tuple[str, ...], Outputs] = {}
        for key, part in once:
            values = session({name: load_array(file) for name, (file,) in part.items()})
            found[key] = {name: values[name] for name in keep.get(key, values)}
        info = session.info
    else:
        path = folder / "reference.safetensors"
        write_reference(model, path, outputs=outputs, places=places)
        runs = tuple(Run(part, keep=keep.get(key)) for key, part in once)
        answer = run_worker(Request(REFERENCE.name, str(path), "cpu", runs), folder)
        info = answer.info
        found = {key: load_outputs(run) for (key, _), run in zip(once, answer.runs, strict=True)}
    return info, found


def measure_noise(model: Model, cases: Sequence[Case], expected: Expected, folder: Path) -> Difference:
    """The largest change of the reference, over inputs and outputs, when every weight changes in its last bit.

    Only floating-point outputs count.
    """
    rng = np.random.default_rng(0)
    moved_weights = {n: _moved(rng, array) if is_float(array.dtype) else array for n, array in model.weights.items()}
    first = list({case.input: case.parts[0] for case in reversed(cases)}.values())
    _, moved = run_reference(replace(model, weights=moved_weights), first, folder)
    found = [
        compare(moved[key][output], expected[key][output], terms=_terms(output, expected[key]))
        for key in moved
        for output in model.outputs
        if is_float(expected[key][output].dtype)
    ]
    largest = (max((d.relative_l2 for d in found), default=0.0), max((d.relative_max for d in found), default=0.0))
    return Difference(*largest, 0)


def _moved(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Each element replaced by the next number of its type, above or below."""
    ends = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    return np.asarray(np.nextafter(array, ends))


def run_artifact(
    path: Path,
    runtime: Runtime,
    device: str,
    cases: Sequence[Case],
    folder: Path,
    *,
    precision: Precision = "float32",
    search: Sequence[Path] = (),
    repeat: int = 0,
    repeat_first: int = 0,
) -> Answer:
    """Send an `artifact_request` to a worker in ``folder``, which looks for packages in ``search`` first."""
    request = artifact_request(path, runtime, device, cases, precision, repeat, repeat_first)
    return run_worker(request, folder, search)


def artifact_request(
    path: Path,
    runtime: Runtime,
    device: str,
    cases: Sequence[Case],
    precision: Precision = "float32",
    repeat: int = 0,
    repeat_first: int = 0,
) -> Request:
    """The request to run an artifact on every case, in order.

    Each run is repeated ``repeat`` times for timing, with copies and without. Otherwise, the first one is repeated
    ``repeat_first`` times, with copies.
    """
    runs = tuple(
        Run(case.files, repeat or (0 if number else repeat_first), compute=repeat > 0)
        for number, case in enumerate(cases)
    )
    return Request(runtime.name, str(path), device, runs, precision)


def float_types(model: Model) -> frozenset[str]:
    """The floating-point types of the model's inputs and weights in files, and of its computation."""
    types = {
        str(model.settings.get("precision")),
        *(spec.dtype for spec in model.inputs),
        *(array.dtype.name for array in model.stored_weights.values()),
    }
    return frozenset(types & set(FLOATING))


def compare_runs(
    answer: Answer,
    cases: Sequence[Case],
    expected: Expected,
    outputs: Sequence[str],
    allowed: Tolerance,
    floats: Collection[str] | None = None,
) -> tuple[Comparison, ...]:
    """Compare the runs of an `artifact_request` with the reference's outputs.

    With ``floats``, the `float_types` of the model, ``allowed`` is the tolerance for float32: the coarsest of these
    types and an output's own decides. Without it, ``allowed`` applies to every output. If ``expected`` has the
    size of the terms of a sum, errors are relative to it.
    """
    comparisons = []
    for case, result in zip(cases, answer.runs, strict=True):
        found, right = load_outputs(result), expected_of(case, expected)
        for output in sorted({*outputs, *found}, key=[*outputs, *found].index):
            difference, limit = _difference(output, found, outputs, right), allowed
            if floats is not None and output in right and is_float(right[output].dtype):
                limit = allowed_for({*floats, right[output].dtype.name}, allowed)
            if _terms(output, right) is not None:
                limit = of_sums(limit)
            comparisons.append(Comparison(case.input, case.sizes, output, difference, limit))
    return tuple(comparisons)


def expected_of(case: Case, expected: Expected) -> Outputs:
    """The reference's outputs for a case, joined from its parts."""
    parts = [expected[part_key(part)] for part in case.parts]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_outputs(result: RunResult) -> Outputs:
    """The arrays written by a worker."""
    return {name: load_array(file) for name, file in result.outputs.items()}


def values_of(outputs: Outputs, places: Sequence[str]) -> Outputs:
    """The values at ``places`` among outputs, by place."""
    return {place: outputs[value_name(number)] for number, place in enumerate(places)}


def refuse_non_finite(cases: Sequence[Case], expected: Expected) -> None:
    """Raise CheckFailed if the reference is not finite: nothing can be compared with it."""
    for case in cases:
        for name, array in expected_of(case, expected).items():
            if is_float(array.dtype) and not np.isfinite(array).all():
                raise CheckFailed(f"the reference itself has values that are not finite: input {case.input}, {name}")


def _difference(output: str, found: Outputs, wanted: Sequence[str], right: Outputs) -> Difference:
    if output not in found or output not in wanted:
        return Difference(math.inf, math.inf, 0, "missing" if output in wanted else "an output that was not exported")
    return compare(found[output], right[output], terms=_terms(output, right))


def _terms(output: str, right: Outputs) -> np.ndarray | None:
    """The sizes of the terms of an output that is a sum; None for others."""
    return right.get(terms_name(output))
