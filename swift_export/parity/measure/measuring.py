"""Runs and compares the artifacts of one model, and reads their graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError
from swift_export.models import CheckInput
from swift_export.models.model import Setting, Sizes
from swift_export.parity.golden.golden_outputs import golden_case, golden_outputs
from swift_export.parity.locate.intermediate_values import IntermediateValues
from swift_export.parity.locate.locating import locate
from swift_export.parity.locate.tracing import blocks_of, trace
from swift_export.parity.measure.cases import Case, write_cases
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.running import (
    Expected,
    compare_runs,
    expected_of,
    float_types,
    measure_noise,
    part_key,
    refuse_non_finite,
    run_artifact,
    run_reference,
    values_of,
)
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.tolerances import POLICY, WIDEST, Limits, Tolerance, coarser, tolerance, widened
from swift_export.parity.results import Broken, Checked, ParityReport, RunTime, WeightsTag
from swift_export.parity.structure.examining import Examination
from swift_export.parity.targets import Subject, Target
from swift_export.runtimes.base import AbsentDevice, LoadError, Precision, RuntimeInfo
from swift_export.runtimes.messages import Answer
from swift_export.runtimes.registry import REFERENCE, kind_of, readers
from swift_export.system.progress import Progress, ignore_line

__all__ = ["Plan", "measure"]

#: Called with an artifact that could not be run and the reason.
Failed = Callable[[Target, SwiftExportError], None]


@dataclass(frozen=True)
class Plan:
    """The settings of a check: see `check_paths`.

    ``repeat`` warm calls of every run are timed, ``repeat_first`` of the first run; ``blocks`` requests the error after
    every block.
    """

    device: str
    batches: tuple[int, ...]
    inputs: tuple[CheckInput, ...] = ()
    on_progress: Progress = ignore_line
    search: tuple[Path, ...] = ()
    repeat: int = 0
    repeat_first: int = 0
    precision: Precision = "float32"
    limits: Limits = POLICY
    blocks: bool = False


def measure(subject: Subject, targets: Sequence[Target], plan: Plan, failed: Failed | None = None) -> ParityReport:
    """Check ``targets``, which share a model.

    If an artifact cannot be run, its error is passed to ``failed`` and the artifact is skipped. Without ``failed``, the
    error is raised, unless one runtime breaks and others do not: then it is reported.
    """
    model = targets[0].model
    with scratch_folder() as folder:
        plan.on_progress("drawing the inputs")
        sources = [*model.check_inputs, *plan.inputs]
        wanted = [target.sizes(plan.batches) for target in targets]
        sizes = list({repr(dict(size)): size for tried in wanted for size in tried}.values())
        cases = write_cases(model, sources, sizes, folder)
        jobs = [(target, _of_sizes(cases, tried, target)) for target, tried in zip(targets, wanted, strict=True)]
        values = IntermediateValues(model, plan.device, plan.precision, plan.search, new_folder(folder / "values"))
        graphs = list(dict.fromkeys(target.path for target in targets if target.runtime is not REFERENCE))
        # Reading graphs takes one core and little memory, so it runs in parallel to the runtimes.
        rounded = [target.path for target in targets if target.integers]
        with Examination(graphs, model, new_folder(folder / "graphs"), rounded) as examination:
            # Before the reference, so that a file that does not load, or an absent GPU, is reported at once.
            broken: list[Broken] = []
            answers = _answers(jobs, plan, folder, failed or _or_broken(subject, broken))
            plan.on_progress("computing the reference")
            info, expected = _reference(cases, values, plan, new_folder(folder / "reference"))
            refuse_non_finite(cases, expected)
            plan.on_progress("reading settings from the graphs")
            found = examination.answer()
        checked = [_checked(subject, target, tried, answer, plan, expected) for target, tried, answer in answers]
        checked = _with_settings(checked, answers, found)
        if not plan.limits.given and any(_may_be_noise(artifact) for artifact in checked):
            plan.on_progress("measuring how noisy float32 is for these weights")
            noise = measure_noise(model, cases, expected, new_folder(folder / "noise"))
            checked = [_widened(artifact, noise) for artifact in checked]
        notes: list[str] = []
        checked = [
            _with_intermediate_values(artifact, target, values, tried, plan, notes)
            for (target, tried, _), artifact in zip(answers, checked, strict=True)
        ]
        first = golden_case(model, cases)
        golden = golden_outputs(model, first, expected_of(first, expected), info)
    named = dict.fromkeys(case.input for case in cases)
    described = [{**source.describe(), "name": name} for name, source in zip(named, sources, strict=True)]
    return ParityReport(plan.device, info, tuple(checked), tuple(described), tuple(broken), tuple(notes), (golden,))


def _reference(
    cases: Sequence[Case], values: IntermediateValues, plan: Plan, folder: Path
) -> tuple[RuntimeInfo, Expected]:
    """The reference's outputs for all cases, and in the same run its values after every block, if requested."""
    model = values.model
    parts = [part for case in cases for part in case.parts]
    blocks = blocks_of(model) if plan.blocks else []
    if not blocks:
        return run_reference(model, parts, folder)
    (first, *_) = golden_case(model, cases).parts
    info, found = run_reference(model, parts, folder, blocks, beside=first)
    values.know(part_key(first), values_of(found[part_key(first)], blocks))
    return info, {key: {name: outputs[name] for name in model.reference_outputs} for key, outputs in found.items()}


def _of_sizes(cases: Sequence[Case], tried: Sequence[Sizes], target: Target) -> tuple[Case, ...]:
    """The cases for an artifact; given arrays, which have fixed sizes, only if it takes any size."""
    return tuple(case for case in cases if case.sizes in tried or (case.given and target.static is None))


def _or_broken(subject: Subject, broken: list[Broken]) -> Failed:
    """Collects runtimes that broke, or that cannot load a file which its own runtime has loaded.

    Other errors are raised.
    """

    def failed(target: Target, error: SwiftExportError) -> None:
        own = readers(kind_of(target.file))[0]
        unknown = isinstance(error, LoadError) and target.runtime is not own
        if isinstance(error, AbsentDevice) or not (isinstance(error, MachineError) or unknown):
            raise error
        broken.append(Broken(subject.root, target.file, target.runtime.title, str(error)))

    return failed


def _with_intermediate_values(
    artifact: Checked, target: Target, values: IntermediateValues, cases: Sequence[Case], plan: Plan, notes: list[str]
) -> Checked:
    """The result with the place of the fault, if it failed, and the error after every block, if requested."""
    if target.runtime is REFERENCE:
        return artifact
    failed = [c for c in artifact.failed_comparisons if c.difference.mismatch is None]
    # The verdict does not depend on the probe, which a runtime may refuse.
    try:
        if failed:
            plan.on_progress(f"locating the fault of {target.file} in {target.runtime.title}")
            worst = min(failed, key=lambda comparison: math.prod(comparison.sizes.values()))
            usual = tolerance(artifact.info.arithmetic, plan.device) if plan.limits.given else worst.allowed
            case = next(case for case in cases if (case.input, case.sizes) == (worst.input, worst.sizes))
            artifact = replace(artifact, fault=locate(values, target, worst, case, usual))
        if plan.blocks:
            plan.on_progress(f"measuring {target.file} block by block in {target.runtime.title}")
            blocks, picture = trace(values, target, golden_case(target.model, cases))
            artifact = replace(artifact, blocks=blocks, picture=picture)
    except SwiftExportError as error:
        notes.append(f"{target.file} in {target.runtime.title}: its intermediate values could not be read: {error}")
    return artifact


def _answers(
    jobs: Sequence[tuple[Target, tuple[Case, ...]]], plan: Plan, folder: Path, failed: Failed
) -> list[tuple[Target, tuple[Case, ...], Answer]]:
    answers = []
    for number, (target, cases) in enumerate(jobs):
        plan.on_progress(f"running {target.file} in {target.runtime.title}")
        try:
            answer = run_artifact(
                target.path,
                target.runtime,
                plan.device,
                cases,
                new_folder(folder / str(number)),
                precision=plan.precision,
                search=plan.search,
                repeat=plan.repeat,
                repeat_first=plan.repeat_first,
            )
        except SwiftExportError as error:
            failed(target, error)
        else:
            answers.append((target, cases, answer))
    return answers


def _checked(
    subject: Subject, target: Target, cases: Sequence[Case], answer: Answer, plan: Plan, expected: Expected
) -> Checked:
    model = target.model
    allowed = plan.limits.applied(coarser(tolerance(answer.info.arithmetic, plan.device), target.integers))
    # A user's limits apply to every type.
    floats = None if plan.limits.given else float_types(model)
    return Checked(
        root=subject.root,
        file=target.file,
        weights=WeightsTag(model.card.variant, model.digest, model.provenance.synthetic),
        info=answer.info,
        load_s=answer.load_s,
        peak_bytes=answer.peak_bytes,
        times=tuple(
            RunTime(case.input, case.sizes, run.first_s, run.call_s, run.compute_s)
            for case, run in zip(cases, answer.runs, strict=True)
        ),
        comparisons=compare_runs(answer, cases, expected, model.outputs, allowed, floats),
        settings=(),
    )


def _with_settings(
    checked: Sequence[Checked],
    answers: Sequence[tuple[Target, tuple[Case, ...], Answer]],
    found: Mapping[Path, Sequence[Setting]],
) -> list[Checked]:
    """Assign the settings from a file's graphs to the first runtime that ran it."""
    left = dict(found)
    return [
        replace(artifact, settings=tuple(left.pop(target.path, ())))
        for artifact, (target, *_) in zip(checked, answers, strict=True)
    ]


def _may_be_noise(artifact: Checked) -> bool:
    """Whether rounding could explain the failures: float32, with all differences within the largest noise."""
    failed = [comparison.difference for comparison in artifact.comparisons if not comparison.passed]
    limit = Tolerance(WIDEST, WIDEST, "the most that noise excuses")
    return bool(failed) and artifact.info.arithmetic == "float32" and all(d.within(limit) for d in failed)


def _widened(artifact: Checked, noise: Difference) -> Checked:
    if not _may_be_noise(artifact):
        return artifact
    comparisons = tuple(
        replace(c, allowed=widened(c.allowed, noise.relative_l2, noise.relative_max)) for c in artifact.comparisons
    )
    return replace(artifact, comparisons=comparisons)
