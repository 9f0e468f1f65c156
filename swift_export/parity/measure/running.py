"""Running the reference and the artifacts on the same clips, and comparing what comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from swift_export.errors import CheckFailed, InputError
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.inputs import CheckInput
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Comparison
from swift_export.runtimes.base import Precision, RuntimeInfo
from swift_export.runtimes.messages import Answer, Request, Run, RunResult
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.reference_file import Reference, write_reference
from swift_export.runtimes.registry import REFERENCE, Runtime

__all__ = [
    "Clips",
    "Expected",
    "Outputs",
    "artifact_request",
    "compare_runs",
    "load_outputs",
    "measure_noise",
    "run_artifact",
    "run_reference",
    "write_clips",
]

#: Files of clips by the name of their input; a batch of k is the first k.
Clips = Mapping[str, tuple[str, ...]]

#: Outputs of a batch by their names.
Outputs = Mapping[str, np.ndarray]

#: What should come out of each clip of each input, by output.
Expected = Mapping[str, Sequence[Outputs]]


def write_clips(sources: Sequence[CheckInput], count: int, shape: Sequence[int], folder: Path) -> Clips:
    """Write ``count`` clips of every source to ``folder``.

    Raises InputError for clips of another shape or with values that are not finite.
    """
    clips: dict[str, tuple[str, ...]] = {}
    for number, source in enumerate(sources):
        batch = source.at(count)
        if batch.shape[1:] != tuple(shape):
            raise InputError(f"{source.name}: expected clips of shape {tuple(shape)}, found {batch.shape[1:]}")
        if not np.isfinite(batch).all():
            raise InputError(f"{source.name}: expected finite values, found NaN or infinity; prepare the scan again")
        files = tuple(str(folder / f"clip{number}-{item}.npy") for item in range(count))
        for file, clip in zip(files, batch, strict=True):
            np.save(file, clip)
        # Two scans may well have the same file name.
        name = source.name if source.name not in clips else f"{source.name} ({number})"
        clips[name] = files
    return clips


def run_reference(reference: Reference, clips: Clips, folder: Path) -> tuple[RuntimeInfo, Expected]:
    """The reference's outputs, computed clip by clip on the CPU: a batch is expected to be its clips, stacked.

    Raises CheckFailed where they are not finite.
    """
    path = folder / "reference.safetensors"
    write_reference(reference, path)
    order = [(name, file) for name, files in clips.items() for file in files]
    request = Request(REFERENCE.name, str(path), "cpu", tuple(Run((file,)) for _, file in order))
    answer = run_worker(request, folder)
    expected: dict[str, list[Outputs]] = {name: [] for name in clips}
    for (name, _), result in zip(order, answer.runs, strict=True):
        outputs = load_outputs(result)
        for output, array in outputs.items():
            if not np.isfinite(array).all():
                raise CheckFailed(f"the reference itself gives values that are not finite: input {name}, {output}")
        expected[name].append(outputs)
    return answer.info, expected


def measure_noise(reference: Reference, clips: Clips, expected: Expected, folder: Path) -> Difference:
    """How far the reference moves when every weight changes in its last bit: the largest over the inputs."""
    rng = np.random.default_rng(0)
    tensors = {
        name: np.nextafter(tensor, np.where(rng.random(tensor.shape) < 0.5, np.float32(-np.inf), np.float32(np.inf)))
        for name, tensor in reference.tensors.items()
    }
    first = {name: files[:1] for name, files in clips.items()}
    _, moved = run_reference(replace(reference, tensors=tensors), first, folder)
    found = [compare(moved[name][0][output], array) for name in first for output, array in expected[name][0].items()]
    return Difference(max(d.relative_l2 for d in found), max(d.relative_max for d in found), 0)


def run_artifact(
    path: Path,
    runtime: Runtime,
    device: str,
    batches: Sequence[int],
    clips: Clips,
    folder: Path,
    *,
    precision: Precision = "float32",
    search: Sequence[Path] = (),
    repeat: int = 0,
    repeat_first: int = 0,
) -> Answer:
    """Ask a worker what `artifact_request` says, in ``folder``; ``search`` is where it finds packages first."""
    request = artifact_request(path, runtime, device, batches, clips, precision, repeat, repeat_first)
    return run_worker(request, folder, search)


def artifact_request(
    path: Path,
    runtime: Runtime,
    device: str,
    batches: Sequence[int],
    clips: Clips,
    precision: Precision = "float32",
    repeat: int = 0,
    repeat_first: int = 0,
) -> Request:
    """To run an artifact on every input in every batch size; the answer's runs are in that order.

    Every run is repeated ``repeat`` times for the clock, the first one ``repeat_first`` times.
    """
    cases = [files[:batch] for files in clips.values() for batch in batches]
    runs = tuple(Run(files, max(repeat, 0 if number else repeat_first)) for number, files in enumerate(cases))
    return Request(runtime.name, str(path), device, runs, precision)


def compare_runs(
    answer: Answer,
    batches: Sequence[int],
    expected: Expected,
    outputs: Sequence[str],
    allowed: Tolerance,
) -> tuple[Comparison, ...]:
    """Hold the runs of an `artifact_request` against what each clip should give."""
    cases = [(name, batch) for name in expected for batch in batches]
    comparisons = []
    for (name, batch), result in zip(cases, answer.runs, strict=True):
        found = load_outputs(result)
        for output in sorted({*outputs, *found}, key=[*outputs, *found].index):
            difference = _difference(output, found, outputs, expected[name][:batch])
            comparisons.append(Comparison(name, batch, output, difference, allowed))
    return tuple(comparisons)


def load_outputs(result: RunResult) -> Outputs:
    """The arrays that a worker wrote."""
    return {name: np.load(file) for name, file in result.outputs.items()}


def _difference(output: str, found: Outputs, wanted: Sequence[str], clips: Sequence[Outputs]) -> Difference:
    if output not in found or output not in wanted:
        return Difference(math.inf, math.inf, 0, "missing" if output in wanted else "an output that was not exported")
    return compare(found[output], np.concatenate([clip[output] for clip in clips]))
