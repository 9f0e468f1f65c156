"""The check: every artifact in its own runtime, on the same inputs as the reference, and its graphs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from swift_export.errors import UsageError
from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.weights import Weights
from swift_export.parity.measure.inputs import CheckInput
from swift_export.parity.measure.measuring import Plan, Progress, measure
from swift_export.parity.measure.tolerances import POLICY, Limits
from swift_export.parity.results import ParityReport
from swift_export.parity.targets import Choice, Subject, Target, find_subject
from swift_export.runtimes.base import check_device, check_precision
from swift_export.runtimes.registry import check_asked, require

__all__ = ["BATCHES", "check_paths"]

#: One clip, as most callers send it, and a batch size that no export ever saw.
BATCHES = (1, 2)

#: For a time without compilation: enough for a median, short beside all else.
WARM_CALLS = 3


def check_paths(
    paths: Sequence[str | Path],
    *,
    weights: Weights | None = None,
    inputs: Sequence[CheckInput] = (),
    runtimes: Sequence[str] | Literal["installed", "own"] = "installed",
    device: str = "cpu",
    precision: str = "float32",
    batches: Sequence[int] = BATCHES,
    limits: Limits = POLICY,
    blocks: bool = True,
    settings: ExportSettings | None = None,
    progress: Progress | None = None,
    search: Sequence[Path] = (),
) -> ParityReport:
    """Check artifact folders, parts of them, or single files against the backbone.

    Args:
        paths: what to check.
        weights: those the artifacts were made from; default: found again from what the artifacts record.
        inputs: clips to try beside noise and phantom, of as many frames as the artifacts take.
        runtimes: names of the runtimes to run them in; ``installed``: all that are installed, read the artifact and
            can do what ``device`` and ``precision`` say; ``own``: each format's own.
        device: ``cpu`` or ``gpu``, for the artifacts' runtimes. The reference is computed on the CPU always: there is
            no TF32 there to be forgotten.
        precision: the number format of matrix products, which picks the tolerance: ``float32``, ``tf32``, ``float16``
            or ``bfloat16``, where a runtime can be told.
        batches: batch sizes to try; a file of one fixed batch size is tried with that instead.
        limits: what to allow in place of the policy's tolerances.
        blocks: measure the error after every block too.
        settings: for a folder whose manifest is still to be written, how its artifacts were exported.
        progress: is told what is being done.
        search: folders where the runtimes' processes find packages before their own.

    Returns what was found, be it failures: see `ParityReport.raise_for_failures`. Raises ArtifactError for missing,
    damaged or changed artifacts, UsageError for weights that are others and runtimes that are not installed,
    MachineError for a GPU that is absent and processes that break, CheckFailed when the reference is not finite.
    """
    names = () if isinstance(runtimes, str) else tuple(runtimes)
    choice = Choice(names, runtimes == "installed", check_device(device), check_precision(precision))
    choice.check()
    limits.check(precision, device)
    if not batches or min(batches) < 1:
        raise UsageError(f"batch sizes: expected at least one, each at least 1, found {', '.join(map(str, batches))}")
    subjects = [find_subject(Path(path), weights, settings, choice) for path in paths]
    for target in (target for subject in subjects for target in subject.targets):
        require(target.runtime)
        check_asked(target.runtime, choice.device, choice.precision)
    plan = Plan(
        device,
        tuple(dict.fromkeys(batches)),
        tuple(inputs),
        progress or (lambda what: None),
        tuple(search),
        repeat_first=WARM_CALLS,
        precision=choice.precision,
        limits=limits,
        blocks=blocks,
    )
    reports = [measure(subject, group, plan) for subject in subjects for group in _groups(subject)]
    if not reports:
        what = f"none of {', '.join(names)} reads what is in" if names else "nothing to check in"
        raise UsageError(f"{what} {', '.join(map(str, paths)) or 'no path'}")
    return replace(
        reports[0],
        artifacts=tuple(found for report in reports for found in report.artifacts),
        broken=tuple(broken for report in reports for broken in report.broken),
        notes=tuple(note for report in reports for note in report.notes),
        golden=tuple(golden for report in reports for golden in report.golden),
    )


def _groups(subject: Subject) -> list[list[Target]]:
    """Targets that share a reference and what their graphs must say: the same frames, kind of output and attention."""
    groups: dict[tuple[int | None, str, str], list[Target]] = {}
    for target in subject.targets:
        settings = target.settings
        groups.setdefault((settings.frames, settings.output_kind, settings.attention), []).append(target)
    return list(groups.values())
