"""The check: every artifact in its own runtime, on the same inputs as the reference, and its graphs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.lowering.settings import ExportSettings
from swift_export.parity.inputs import CheckInput
from swift_export.parity.measuring import Plan, Progress, measure
from swift_export.parity.results import ParityReport
from swift_export.parity.targets import Subject, Target, find_subject
from swift_export.runtimes.base import check_device
from swift_export.runtimes.registry import require
from swift_export.weights import Weights

__all__ = ["BATCHES", "check_paths"]

#: One clip, as most callers send it, and a batch size that no export ever saw.
BATCHES = (1, 2)


def check_paths(
    paths: Sequence[str | Path],
    *,
    weights: Weights | None = None,
    inputs: Sequence[CheckInput] = (),
    device: str = "cpu",
    batches: Sequence[int] = BATCHES,
    settings: ExportSettings | None = None,
    progress: Progress | None = None,
    search: Sequence[Path] = (),
) -> ParityReport:
    """Check artifact folders, parts of them, or single files against the backbone.

    Args:
        paths: what to check.
        weights: those the artifacts were made from; default: found again from what the artifacts record.
        inputs: clips to try beside noise and phantom, of as many frames as the artifacts take.
        device: ``cpu`` or ``gpu``, for the artifacts' runtimes. The reference is computed on the CPU always: there is
            no TF32 there to be forgotten.
        batches: batch sizes to try; a file of one fixed batch size is tried with that instead.
        settings: for a folder whose manifest is still to be written, how its artifacts were exported.
        progress: is told what is being done.
        search: folders where the runtimes' processes find packages before their own.

    Returns what was found, be it failures: see `ParityReport.raise_for_failures`. Raises ArtifactError for missing,
    damaged or changed artifacts, UsageError for weights that are others and runtimes that are not installed,
    MachineError for a GPU that is absent and processes that break, CheckFailed when the reference is not finite.
    """
    check_device(device)
    if not batches or min(batches) < 1:
        raise UsageError(f"batch sizes: expected at least one, each at least 1, found {', '.join(map(str, batches))}")
    subjects = [find_subject(Path(path), weights, settings) for path in paths]
    for target in (target for subject in subjects for target in subject.targets):
        require(target.runtime)
    plan = Plan(device, tuple(dict.fromkeys(batches)), tuple(inputs), progress or (lambda what: None), tuple(search))
    reports = [measure(subject, group, plan) for subject in subjects for group in _groups(subject)]
    if not reports:
        raise UsageError(f"nothing to check in {', '.join(map(str, paths)) or 'no path'}")
    return replace(reports[0], artifacts=tuple(found for report in reports for found in report.artifacts))


def _groups(subject: Subject) -> list[list[Target]]:
    """Targets that share a reference and what their graphs must say: the same frames, kind of output and attention."""
    groups: dict[tuple[int | None, str, str], list[Target]] = {}
    for target in subject.targets:
        settings = target.settings
        groups.setdefault((settings.frames, settings.output_kind, settings.attention), []).append(target)
    return list(groups.values())
