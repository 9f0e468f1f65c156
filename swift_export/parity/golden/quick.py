"""The quick check: compares artifacts in their runtimes with the golden outputs beside them.

It is for machines that serve an artifact: it needs the artifact's runtime, but neither JAX, nor weights, nor the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import FORMATS, MANIFEST
from swift_export.artifacts.manifest import Golden, Manifest
from swift_export.errors import UsageError
from swift_export.models.recovery import Recorded
from swift_export.parity.golden.golden_outputs import draw_golden_input, golden_tolerance, read_golden
from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.running import artifact_request, compare_runs, part_key
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.tolerances import Tolerance, tolerance
from swift_export.parity.results import Checked, Outputs, ParityReport, RunTime, WeightsTag
from swift_export.parity.targets import Choice, Target, find_artifacts
from swift_export.runtimes.base import RuntimeInfo, check_device
from swift_export.runtimes.messages import Answer
from swift_export.runtimes.process import run_workers
from swift_export.runtimes.registry import remedy
from swift_export.system.arrays import save_array
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line

__all__ = ["QuickCheck", "check_quick"]

#: Parallel processes: imports and compilation leave cores idle, but each process may need a gigabyte or two.
_AT_ONCE = 2


@dataclass(frozen=True)
class QuickCheck:
    """The report, as of any check, and a line for every skipped artifact."""

    report: ParityReport
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    """One artifact in one runtime, and the expected outputs for every item of its batch."""

    folder: Path
    manifest: Manifest
    recorded: Recorded
    target: Target
    golden: Golden
    allowed: Tolerance
    expected: Outputs
    recorded_by: str

    @property
    def recipe(self) -> str:
        """The key of the input's arrays: formats of one model share them, for any batch size."""
        model = self.target.model
        inputs = [(spec.name, spec.dtype, spec.dims[1:] if model.batched else spec.dims) for spec in model.inputs]
        return repr((self.golden.input, sorted(self.recorded.architecture.items()), inputs))

    def case(self, files: Mapping[str, str]) -> Case:
        """The call for the golden outputs, repeated for each item of a fixed batch."""
        part = {name: (file,) for name, file in files.items()}
        if not self.target.model.batched:
            return Case(self.golden.input.kind, self.golden.input.sizes, part, (part,))
        batch = (self.target.static or {}).get("batch") or self.target.model.batch or 1
        together = {name: items * batch for name, items in part.items()}
        return Case(self.golden.input.kind, {"batch": batch}, together, (part,) * batch)


def check_quick(
    paths: str | Path | Sequence[str | Path],
    *,
    runtimes: str | Sequence[str] | None = None,
    everything: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> QuickCheck:
    """Run artifacts on the input of their golden outputs, and compare.

    Args:
        paths: artifact folders or parts of them.
        runtimes: names of runtimes, each for every file that it reads. By default, one file of each format in the
            format's own runtime. All StableHLO files hold the same module for XLA, so the first represents them.
        everything: whether to use, without names of runtimes, every file in every installed runtime that reads it.
        device: ``cpu`` or ``gpu``.
        progress: called with a short text at each step.

    For float32, the tolerance of the export's check applies; other arithmetic has its own. Artifacts without golden
    outputs, or without an installed runtime, are skipped.

    Raises UsageError if nothing remains, a path is outside an artifact folder or a named runtime is not installed,
    ArtifactError for missing, damaged or changed files, MachineError if NumPy draws another input, a GPU is absent or a
    process breaks.
    """
    on_progress = progress or ignore_line
    paths = as_items(paths)
    choice = Choice(as_items(runtimes or ()), everything, check_device(device))
    choice.check()
    on_progress("verifying digests")
    found = [job for path in paths for job in _jobs(Path(path), choice)]
    skipped = tuple(job for job in found if isinstance(job, str))
    jobs = [job for job in found if isinstance(job, _Job)]
    if not jobs:
        places, names = ", ".join(map(str, paths)) or "no path", ", ".join(choice.names)
        raise UsageError("; ".join(skipped) or f"{places}: expected files for {names or 'some runtime'}, found none")
    with scratch_folder() as scratch:
        on_progress("drawing the input")
        drawn = _draw(jobs, scratch)
        on_progress(f"running {', '.join(job.target.file for job in jobs)}")
        cases = [job.case(drawn[job.recipe]) for job in jobs]
        requests = [
            (artifact_request(job.target.path, job.target.runtime, device, (case,)), new_folder(scratch / str(number)))
            for number, (job, case) in enumerate(zip(jobs, cases, strict=True))
        ]
        answers = run_workers(requests, _AT_ONCE)
        checked = tuple(_checked(*done, device) for done in zip(jobs, cases, answers, strict=True))
    recipes = {job.recipe: job.golden.input for job in jobs}.values()
    inputs = [{"name": r.kind, "seed": r.seed, "frames": r.frames, "sha256": r.sha256} for r in recipes]
    return QuickCheck(ParityReport(device, _recorder(jobs[0]), checked, tuple(inputs)), skipped)


def _jobs(path: Path, choice: Choice) -> Iterator[_Job | str]:
    """The jobs at ``path``, and a line for every skipped artifact."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if artifact_folder(path) is None:
        raise UsageError(f"{path}: not in an artifact folder with golden outputs; check it without --quick")
    found = find_artifacts(path, choice)
    assert found.manifest, "files in an artifact folder have its manifest"
    folder = Path(found.root)
    for name, artifact in found.manifest.artifacts.items():
        units = FORMATS[name].units
        targets = sorted((t for t in found.targets if t.file in units), key=lambda t: units.index(t.file))
        if targets and artifact.golden is None:
            yield (
                f"{folder}: has no golden outputs of {name}, exported with --no-check or by an older version; "
                "check it without --quick, or export it again"
            )
            continue
        for target in targets if choice.names or choice.everything else targets[:1]:
            if not target.runtime.installed:
                yield f"{folder / target.file}: {target.runtime.title} is not installed: {remedy(target.runtime)}"
                continue
            assert artifact.golden
            allowed = golden_tolerance(artifact.golden, folder / MANIFEST, target.integers)
            expected = read_golden(folder, found.manifest, name, target.model.batched)
            version = artifact.versions.get("swift-export", "of unknown version")
            recorded = found.records[target.file]
            yield _Job(folder, found.manifest, recorded, target, artifact.golden, allowed, expected, version)


def _draw(jobs: Sequence[_Job], scratch: Path) -> dict[str, dict[str, str]]:
    """Files of the inputs by recipe; formats exported together share them."""
    drawn: dict[str, dict[str, str]] = {}
    for job in jobs:
        if job.recipe not in drawn:
            files = drawn[job.recipe] = {}
            for name, array in draw_golden_input(job.golden, job.recorded).items():
                files[name] = str(scratch / f"input{len(drawn)}-{len(files)}.npy")
                save_array(Path(files[name]), array)
    return drawn


def _checked(job: _Job, case: Case, answer: Answer, device: str) -> Checked:
    arithmetic, weights = answer.info.arithmetic, job.manifest.weights
    allowed = job.allowed if arithmetic == "float32" else tolerance(arithmetic, device)
    (run,) = answer.runs
    expected = {part_key(case.parts[0]): job.expected}
    return Checked(
        root=str(job.folder),
        file=job.target.file,
        weights=WeightsTag(job.manifest.model.variant, weights.digest, weights.synthetic),
        info=answer.info,
        load_s=answer.load_s,
        peak_bytes=answer.peak_bytes,
        times=(RunTime(case.input, case.sizes, run.first_s, run.call_s, run.compute_s),),
        comparisons=compare_runs(answer, (case,), expected, job.target.model.outputs, allowed),
        settings=(),
    )


def _recorder(job: _Job) -> RuntimeInfo:
    """The runtime of the golden outputs, as far as the manifest states it."""
    return RuntimeInfo(
        name="golden output",
        version=job.recorded_by,
        device="the exporting machine",
        arithmetic="float32",
        settings={"reference": job.golden.reference},
        providers=(),
    )
