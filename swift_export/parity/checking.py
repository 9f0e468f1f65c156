"""The check: runs every artifact in its runtimes on the reference's inputs, and reads its graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from swift_export.errors import UsageError
from swift_export.models import CheckInput, Model
from swift_export.models.recovery import Original
from swift_export.parity.golden.quick import check_quick
from swift_export.parity.measure.cases import BATCHES
from swift_export.parity.measure.measuring import Plan, measure
from swift_export.parity.measure.tolerances import POLICY, Limits
from swift_export.parity.results import ParityReport
from swift_export.parity.targets import Artifacts, Choice, Subject, Target, find_subject, staged_subject
from swift_export.runtimes.base import check_device, check_precision
from swift_export.runtimes.registry import check_ability, kind_of, readers, require
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line

__all__ = ["BATCHES", "check_paths", "check_staged"]

#: Warm calls for a time without compilation: enough for a median, and short compared with the rest. An export's check
#: makes one.
WARM_CALLS = 3


def check_paths(
    paths: str | Path | Sequence[str | Path],
    *,
    weights: Original | None = None,
    inputs: CheckInput | Sequence[CheckInput] = (),
    runtimes: str | Sequence[str] | Literal["installed", "own"] = "installed",
    device: str = "cpu",
    precision: str = "float32",
    batches: int | Sequence[int] = BATCHES,
    limits: Limits = POLICY,
    blocks: bool = True,
    progress: Progress | None = None,
    search: Sequence[Path] = (),
) -> ParityReport:
    """Check artifact folders, parts of them, or single files against their model.

    One path, input, name or size stands for a sequence of one.

    Args:
        paths: artifact folders, parts of them, or single files.
        weights: the weights or the model of the artifacts; by default restored from the artifacts' records. Without
            its model, an artifact of a Python program's model is compared with the golden outputs beside it.
        inputs: further inputs beside those of the model, in the shapes of the artifacts.
        runtimes: names of the runtimes; ``installed``: all installed ones that read the artifact and support ``device``
            and ``precision``; ``own``: each format's own.
        device: ``cpu`` or ``gpu``, for the artifacts' runtimes. The reference is always computed on the CPU, which has
            no TF32.
        precision: the number format of matrix products, which determines the tolerance: ``float32``, ``tf32``,
            ``float16`` or ``bfloat16``, if the runtime has the choice.
        batches: sizes of the dimension ``batch`` to check; a file of a fixed batch size is checked with that size.
        limits: limits that replace the policy's tolerances.
        blocks: whether to measure the error after every block too.
        progress: called with a short text at each step.
        search: folders in which the runtimes' processes look for packages first.

    Returns all results, including failures: see `ParityReport.raise_for_failures`. Raises ArtifactError for missing,
    damaged or changed artifacts, UsageError for other weights and runtimes that are not installed, MachineError for an
    absent GPU and broken processes, CheckFailed if the reference is not finite.
    """
    paths = as_items(paths)
    sizes: tuple[int, ...] = as_items(batches)
    more: tuple[CheckInput, ...] = as_items(inputs)
    choice, plan = _choices(runtimes, device, precision, sizes, more, limits, blocks, progress, search)
    found = [(Path(path), find_subject(Path(path), weights, choice)) for path in paths]
    subjects = [subject for _, subject in found if isinstance(subject, Subject)]
    reports = [
        _by_golden_outputs(path, subject, choice, plan) for path, subject in found if isinstance(subject, Artifacts)
    ]
    return _measured(subjects, reports, choice, plan, ", ".join(map(str, paths)) or "no path")


def check_staged(
    folder: Path,
    model: Model,
    *,
    inputs: Sequence[CheckInput] = (),
    device: str = "cpu",
    batches: Sequence[int] = BATCHES,
    progress: Progress | None = None,
) -> ParityReport:
    """Check artifacts of ``model`` before their manifest is written, each in its format's own runtime."""
    choice, plan = _choices("own", device, "float32", batches, inputs, POLICY, False, progress, ())
    plan = replace(plan, repeat_first=1)
    return _measured([staged_subject(folder, model, choice)], (), choice, plan, str(folder))


def _choices(
    runtimes: str | Sequence[str] | Literal["installed", "own"],
    device: str,
    precision: str,
    batches: Sequence[int],
    inputs: Sequence[CheckInput],
    limits: Limits,
    blocks: bool,
    progress: Progress | None,
    search: Sequence[Path],
) -> tuple[Choice, Plan]:
    names = () if runtimes in ("installed", "own") else as_items(runtimes)
    choice = Choice(names, runtimes == "installed", check_device(device), check_precision(precision))
    choice.check()
    limits.check(precision, device)
    if not batches or min(batches) < 1:
        raise UsageError(f"batch sizes: expected at least one, each at least 1, found {', '.join(map(str, batches))}")
    plan = Plan(
        device,
        tuple(dict.fromkeys(batches)),
        tuple(inputs),
        progress or ignore_line,
        tuple(search),
        repeat_first=WARM_CALLS,
        precision=choice.precision,
        limits=limits,
        blocks=blocks,
    )
    return choice, plan


def _by_golden_outputs(path: Path, artifacts: Artifacts, choice: Choice, plan: Plan) -> ParityReport:
    """Check artifacts of a Python program's model without that model, against the golden outputs of the export."""
    again = "give its model again with --model FILE.py:NAME"
    if artifacts.manifest is None:
        raise UsageError(f"{artifacts.root}: not in an artifact folder with golden outputs; {again}")
    if plan.inputs or plan.limits.given or choice.precision != "float32":
        raise UsageError(f"{artifacts.root}: made from a model in Python, which other inputs and limits need; {again}")
    quick = check_quick([path], runtimes=choice.names, everything=True, device=choice.device, progress=plan.on_progress)
    name = Path(artifacts.root).name
    note = f"{name}: compared with the outputs that the export recorded; to compute the reference, {again}"
    return replace(quick.report, notes=(note, *quick.skipped))


def _measured(
    subjects: Sequence[Subject], others: Sequence[ParityReport], choice: Choice, plan: Plan, where: str
) -> ParityReport:
    for target in (target for subject in subjects for target in subject.targets):
        require(target.runtime)
        check_ability(target.runtime, choice.device, choice.precision)
    reports = [measure(subject, group, plan) for subject in subjects for group in _groups(subject)]
    reports += others
    notes = dict.fromkeys(note for subject in subjects for note in _left_out(subject, choice))
    if not reports:
        what = f"none of {', '.join(choice.names)} reads the files in" if choice.names else "nothing to check in"
        raise UsageError(f"{what} {where}")
    return replace(
        reports[0],
        artifacts=tuple(found for report in reports for found in report.artifacts),
        broken=tuple(broken for report in reports for broken in report.broken),
        notes=(*notes, *(note for report in reports for note in report.notes)),
        golden=tuple(golden for report in reports for golden in report.golden),
    )


def _left_out(subject: Subject, choice: Choice) -> Iterator[str]:
    """Which runtimes do not run a file because they have no kernels for its precision."""
    for target in subject.targets:
        precision = target.model.settings.get("precision")
        for runtime in readers(kind_of(target.file)):
            if choice.lacks(runtime, precision):
                lacking = f"no kernels for {precision} on the {choice.device}"
                yield f"{target.file}: {runtime.title}: absent, because it has {lacking}"


def _groups(subject: Subject) -> list[list[Target]]:
    """Group targets by model; those of one model share a reference."""
    groups: dict[int, list[Target]] = {}
    for target in subject.targets:
        groups.setdefault(id(target.model), []).append(target)
    return list(groups.values())
