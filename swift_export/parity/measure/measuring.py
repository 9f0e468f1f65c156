"""One group of artifacts that share a reference: run, compare, read their graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError
from swift_export.models.swift.forms import by_name, choose_forms
from swift_export.models.swift.structure.examine import Setting
from swift_export.parity.golden.golden_outputs import PHANTOM, golden_outputs
from swift_export.parity.locate.intermediate_values import Inside
from swift_export.parity.locate.locating import locate
from swift_export.parity.locate.tracing import trace
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.inputs import CheckInput, standard_inputs
from swift_export.parity.measure.running import (
    Clips,
    Expected,
    compare_runs,
    measure_noise,
    run_artifact,
    run_reference,
    write_clips,
)
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.tolerances import POLICY, WIDEST, Limits, Tolerance, tolerance, widened
from swift_export.parity.results import Broken, Checked, ParityReport, RunTime, WeightsTag
from swift_export.parity.structure.examining import Examination
from swift_export.parity.structure.weight_identity import digests
from swift_export.parity.targets import Subject, Target
from swift_export.runtimes.base import AbsentDevice, LoadError, Precision
from swift_export.runtimes.messages import Answer
from swift_export.runtimes.reference_file import Reference
from swift_export.runtimes.registry import REFERENCE, kind_of, readers

__all__ = ["Plan", "Progress", "measure"]

#: Told in a few words what is done now.
Progress = Callable[[str], None]

#: Told of an artifact that could not be run, and why.
Failed = Callable[[Target, SwiftExportError], None]


@dataclass(frozen=True)
class Plan:
    """How artifacts are run: see `check_paths`.

    ``repeat`` warm calls of every run are timed, ``repeat_first`` of the first one; ``blocks`` asks for the error after
    every block.
    """

    device: str
    batches: tuple[int, ...]
    inputs: tuple[CheckInput, ...] = ()
    progress: Progress = lambda what: None
    search: tuple[Path, ...] = ()
    repeat: int = 0
    repeat_first: int = 0
    precision: Precision = "float32"
    limits: Limits = POLICY
    blocks: bool = False

    def sizes(self, target: Target) -> tuple[int, ...]:
        """The batch sizes to try."""
        return self.batches if target.batch is None else (target.batch,)


def measure(subject: Subject, targets: Sequence[Target], plan: Plan, failed: Failed | None = None) -> ParityReport:
    """Check ``targets``, which share frames and kind of output.

    Where an artifact cannot be run, its error is given to ``failed`` and the artifact left out. Without ``failed``, it
    is raised, but for a runtime that breaks while others do not: that is for the report.
    """
    weights, settings = subject.weights, targets[0].settings
    config, frames = weights.config, settings.frames
    outputs = tuple(dict.fromkeys(name for target in targets for name in target.settings.outputs))
    reference = Reference(config, weights.tensors, outputs, settings.output_kind)
    with scratch_folder() as folder:
        plan.progress("drawing the inputs")
        sources = [*standard_inputs(config, frames), *plan.inputs]
        most = max(size for target in targets for size in plan.sizes(target))
        clips = write_clips(sources, most, config.input_shape(frames), folder)
        graphs = list(dict.fromkeys(target.path for target in targets if target.runtime is not REFERENCE))
        chosen = choose_forms(config, weights.tensors, settings)
        forms = {name: block.form for name, block in by_name(chosen).items()}
        stated, held = {"swift_export.weights_sha256": weights.digest}, digests(weights.tensors)
        # Reading graphs takes one core and little memory: it goes beside the runtimes.
        with Examination(graphs, config, frames, forms, stated, held, new_folder(folder / "graphs")) as examination:
            # Before the reference: a file that does not load, or an absent GPU, is said at once.
            broken: list[Broken] = []
            answers = _answers(targets, plan, clips, folder, failed or _or_broken(subject, broken))
            plan.progress("computing the reference")
            info, expected = run_reference(reference, clips, new_folder(folder / "reference"))
            plan.progress("reading settings from the graphs")
            found = examination.answer()
        checked = [_checked(subject, target, answer, plan, clips, expected) for target, answer in answers]
        checked = _with_settings(checked, answers, found)
        if not plan.limits.asked and any(_may_be_noise(artifact) for artifact in checked):
            plan.progress("measuring how noisy float32 is for these weights")
            noise = measure_noise(reference, clips, expected, new_folder(folder / "noise"))
            checked = [_widened(artifact, noise) for artifact in checked]
        inside = Inside(reference, plan.device, plan.precision, plan.search, new_folder(folder / "inside"))
        notes: list[str] = []
        checked = [
            _looked_into(artifact, target, inside, clips, plan, notes)
            for (target, _), artifact in zip(answers, checked, strict=True)
        ]
        (first, *_), (phantom, *_) = expected[PHANTOM], clips[PHANTOM]
        golden = golden_outputs(config, settings, first, phantom, info)
    described = [{**source.describe(), "name": name} for name, source in zip(clips, sources, strict=True)]
    return ParityReport(plan.device, info, tuple(checked), tuple(described), tuple(broken), tuple(notes), (golden,))


def _or_broken(subject: Subject, broken: list[Broken]) -> Failed:
    """Collects runtimes that broke, or that do not know what is in a file which its own runtime has loaded.

    What else goes wrong is raised.
    """

    def failed(target: Target, error: SwiftExportError) -> None:
        own = readers(kind_of(target.file))[0]
        unknown = isinstance(error, LoadError) and target.runtime is not own
        if isinstance(error, AbsentDevice) or not (isinstance(error, MachineError) or unknown):
            raise error
        broken.append(Broken(subject.root, target.file, target.runtime.title, str(error)))

    return failed


def _looked_into(
    artifact: Checked, target: Target, inside: Inside, clips: Clips, plan: Plan, notes: list[str]
) -> Checked:
    """With the place where it goes wrong, if it does, and the error after every block, if asked for."""
    if target.runtime is REFERENCE:
        return artifact
    failed = [c for c in artifact.failed_comparisons if c.difference.mismatch is None]
    # The verdict stands without what a probe would tell, should a runtime refuse it or break.
    try:
        if failed:
            plan.progress(f"locating the fault of {target.file} in {target.runtime.title}")
            worst = min(failed, key=lambda comparison: comparison.batch)
            usual = tolerance(artifact.info.arithmetic, plan.device) if plan.limits.asked else worst.allowed
            artifact = replace(artifact, fault=locate(inside, target, worst, clips, usual))
        if plan.blocks:
            plan.progress(f"measuring {target.file} block by block in {target.runtime.title}")
            blocks, picture = trace(inside, target, clips, PHANTOM)
            artifact = replace(artifact, blocks=blocks, picture=picture)
    except SwiftExportError as error:
        notes.append(f"{target.file} in {target.runtime.title}: its blocks could not be looked at: {error}")
    return artifact


def _answers(
    targets: Sequence[Target], plan: Plan, clips: Clips, folder: Path, failed: Failed
) -> list[tuple[Target, Answer]]:
    answers = []
    for number, target in enumerate(targets):
        plan.progress(f"running {target.file} in {target.runtime.title}")
        work, sizes = new_folder(folder / str(number)), plan.sizes(target)
        try:
            answer = run_artifact(
                target.path,
                target.runtime,
                plan.device,
                sizes,
                clips,
                work,
                precision=plan.precision,
                search=plan.search,
                repeat=plan.repeat,
                repeat_first=plan.repeat_first,
            )
        except SwiftExportError as error:
            failed(target, error)
        else:
            answers.append((target, answer))
    return answers


def _checked(
    subject: Subject,
    target: Target,
    answer: Answer,
    plan: Plan,
    clips: Clips,
    expected: Expected,
) -> Checked:
    weights, sizes = subject.weights, plan.sizes(target)
    allowed = plan.limits.applied(tolerance(answer.info.arithmetic, plan.device))
    cases = [(name, size) for name in clips for size in sizes]
    return Checked(
        root=subject.root,
        file=target.file,
        weights=WeightsTag(weights.variant, weights.digest, weights.provenance.synthetic),
        info=answer.info,
        load_s=answer.load_s,
        peak_bytes=answer.peak_bytes,
        times=tuple(
            RunTime(name, size, run.first_s, run.call_s, run.compute_s)
            for (name, size), run in zip(cases, answer.runs, strict=True)
        ),
        comparisons=compare_runs(answer, sizes, expected, target.settings.outputs, allowed),
        settings=(),
    )


def _with_settings(
    checked: Sequence[Checked],
    answers: Sequence[tuple[Target, Answer]],
    found: Mapping[Path, Sequence[Setting]],
) -> list[Checked]:
    """What was read from a file's graphs stands beside the first runtime that ran it."""
    left = dict(found)
    return [
        replace(artifact, settings=tuple(left.pop(target.path, ())))
        for artifact, (target, _) in zip(checked, answers, strict=True)
    ]


def _may_be_noise(artifact: Checked) -> bool:
    """Whether rounding could explain what fails: float32, and nothing further off than noise may be."""
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
