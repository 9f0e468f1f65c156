"""The check: every artifact in its own runtime, on the same inputs as the reference, and its graphs read."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import MachineError, UsageError
from swift_export.lowering.settings import ExportSettings
from swift_export.parity.examining import Examination
from swift_export.parity.inputs import CheckInput, standard_inputs
from swift_export.parity.report import Checked, ParityReport, WeightsTag
from swift_export.parity.running import compare_runs, run_artifact, run_reference, write_clips
from swift_export.parity.targets import Subject, Target, find_subject
from swift_export.parity.tolerances import tolerance
from swift_export.runtimes.base import RuntimeInfo, check_device
from swift_export.runtimes.reference_file import Reference
from swift_export.runtimes.registry import require
from swift_export.weights import Weights

__all__ = ["BATCHES", "Progress", "check_paths", "new_folder", "scratch_folder"]

#: One clip, as most callers send it, and a batch size that no export ever saw.
BATCHES = (1, 2)

#: Told in a few words what is done now.
Progress = Callable[[str], None]


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
    plan = _Plan(tuple(inputs), device, tuple(dict.fromkeys(batches)), progress or (lambda what: None), tuple(search))
    found = [_check(subject, group, plan) for subject in subjects for group in _groups(subject)]
    if not found:
        raise UsageError(f"nothing to check in {', '.join(map(str, paths)) or 'no path'}")
    return ParityReport(device, found[0][0], tuple(artifact for _, artifacts in found for artifact in artifacts))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed afterwards; a full disk is a MachineError."""
    try:
        with tempfile.TemporaryDirectory(prefix="swift-export-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MachineError(f"{tempfile.gettempdir()}: the disk is full; free some space or set TMPDIR") from None


@dataclass(frozen=True)
class _Plan:
    inputs: tuple[CheckInput, ...]
    device: str
    batches: tuple[int, ...]
    progress: Progress
    search: tuple[Path, ...]

    def sizes(self, target: Target) -> tuple[int, ...]:
        return self.batches if target.batch is None else (target.batch,)


def _groups(subject: Subject) -> list[list[Target]]:
    """Targets that share a reference: the same frames and kind of output."""
    groups: dict[tuple[int | None, str], list[Target]] = {}
    for target in subject.targets:
        groups.setdefault((target.settings.frames, target.settings.output_kind), []).append(target)
    return list(groups.values())


def _check(subject: Subject, targets: Sequence[Target], plan: _Plan) -> tuple[RuntimeInfo, list[Checked]]:
    weights, frames = subject.weights, targets[0].settings.frames
    config = weights.config
    outputs = tuple(dict.fromkeys(name for target in targets for name in target.settings.outputs))
    reference = Reference(config, weights.tensors, outputs, targets[0].settings.output_kind)
    with scratch_folder() as folder:
        plan.progress("drawing the inputs")
        sources = [*standard_inputs(config, frames), *plan.inputs]
        most = max(size for target in targets for size in plan.sizes(target))
        clips = write_clips(sources, most, config.input_shape(frames), folder)
        stated = {"swift_export.weights_sha256": weights.digest}
        # Reading graphs takes one core and little memory: it goes beside the runtimes.
        graphs = {target.path: frames for target in targets}
        with Examination(graphs, config, stated, new_folder(folder / "graphs")) as examination:
            # Before the reference: a file that does not load, or an absent GPU, is said at once.
            answers = []
            for number, target in enumerate(targets):
                plan.progress(f"running {target.file} in {target.runtime.title}")
                work, sizes = new_folder(folder / str(number)), plan.sizes(target)
                answers.append(
                    run_artifact(target.path, target.runtime, plan.device, sizes, clips, work, search=plan.search)
                )
            plan.progress("computing the reference")
            info, expected = run_reference(reference, clips, new_folder(folder / "reference"))
            plan.progress("reading settings from the graphs")
            settings = examination.answer()
        comparisons = [
            compare_runs(
                answer,
                plan.sizes(target),
                expected,
                target.settings.outputs,
                tolerance(answer.info.arithmetic, plan.device),
            )
            for target, answer in zip(targets, answers, strict=True)
        ]
    tag = WeightsTag(weights.variant, weights.digest, weights.provenance.synthetic)
    return info, [
        Checked(
            root=subject.root,
            file=target.file,
            weights=tag,
            info=answer.info,
            load_s=answer.load_s,
            peak_bytes=answer.peak_bytes,
            comparisons=compared,
            settings=tuple(settings[target.path]),
        )
        for target, answer, compared in zip(targets, answers, comparisons, strict=True)
    ]


def new_folder(folder: Path) -> Path:
    """Create and return it."""
    folder.mkdir()
    return folder
