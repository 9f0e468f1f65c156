"""One group of artifacts that share a reference: run, compare, read their graphs."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError
from swift_export.lowering.forms import by_name, choose_forms
from swift_export.parity.compare import Difference
from swift_export.parity.examining import Examination
from swift_export.parity.inputs import CheckInput, standard_inputs
from swift_export.parity.results import Checked, ParityReport, RunTime, WeightsTag
from swift_export.parity.running import (
    Clips,
    Expected,
    compare_runs,
    measure_noise,
    run_artifact,
    run_reference,
    write_clips,
)
from swift_export.parity.structure import Setting
from swift_export.parity.targets import Subject, Target
from swift_export.parity.tolerances import WIDEST, Tolerance, tolerance, widened
from swift_export.runtimes.messages import Answer
from swift_export.runtimes.reference_file import Reference
from swift_export.runtimes.registry import REFERENCE

__all__ = ["Plan", "Progress", "measure", "new_folder", "scratch_folder"]

#: Told in a few words what is done now.
Progress = Callable[[str], None]

#: Told of an artifact that could not be run, and why.
Failed = Callable[[Target, SwiftExportError], None]


@dataclass(frozen=True)
class Plan:
    """How artifacts are run: see `check_paths`. ``repeat`` warm calls of every run are timed."""

    device: str
    batches: tuple[int, ...]
    inputs: tuple[CheckInput, ...] = ()
    progress: Progress = lambda what: None
    search: tuple[Path, ...] = ()
    repeat: int = 0

    def sizes(self, target: Target) -> tuple[int, ...]:
        """The batch sizes to try."""
        return self.batches if target.batch is None else (target.batch,)


def measure(subject: Subject, targets: Sequence[Target], plan: Plan, failed: Failed | None = None) -> ParityReport:
    """Check ``targets``, which share frames and kind of output.

    Where an artifact cannot be run, its error is raised, or given to ``failed`` and the artifact left out.
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
        graphs = [target.path for target in targets if target.runtime is not REFERENCE]
        chosen = choose_forms(config, weights.tensors, settings)
        forms = {name: block.form for name, block in by_name(chosen).items()}
        stated = {"swift_export.weights_sha256": weights.digest}
        # Reading graphs takes one core and little memory: it goes beside the runtimes.
        with Examination(graphs, config, frames, forms, stated, new_folder(folder / "graphs")) as examination:
            # Before the reference: a file that does not load, or an absent GPU, is said at once.
            answers = _answers(targets, plan, clips, folder, failed)
            plan.progress("computing the reference")
            info, expected = run_reference(reference, clips, new_folder(folder / "reference"))
            plan.progress("reading settings from the graphs")
            found = examination.answer()
        checked = [_checked(subject, target, answer, plan, clips, expected, found) for target, answer in answers]
        if any(_may_be_noise(artifact) for artifact in checked):
            plan.progress("measuring how noisy float32 is for these weights")
            noise = measure_noise(reference, clips, expected, new_folder(folder / "noise"))
            checked = [_widened(artifact, noise) for artifact in checked]
    described = [{**source.describe(), "name": name} for name, source in zip(clips, sources, strict=True)]
    return ParityReport(plan.device, info, tuple(checked), tuple(described))


def _answers(
    targets: Sequence[Target], plan: Plan, clips: Clips, folder: Path, failed: Failed | None
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
                search=plan.search,
                repeat=plan.repeat,
            )
        except SwiftExportError as error:
            if failed is None:
                raise
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
    found: Mapping[Path, Sequence[Setting]],
) -> Checked:
    weights, sizes = subject.weights, plan.sizes(target)
    allowed = tolerance(answer.info.arithmetic, plan.device)
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
        settings=tuple(found.get(target.path, ())),
    )


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


def new_folder(folder: Path) -> Path:
    """Create and return it."""
    folder.mkdir()
    return folder
