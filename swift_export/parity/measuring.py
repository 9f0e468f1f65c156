"""One group of artifacts that share a reference: run, compare, read their graphs."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError
from swift_export.parity.examining import Examination
from swift_export.parity.inputs import CheckInput, standard_inputs
from swift_export.parity.report import Checked, ParityReport, RunTime, WeightsTag
from swift_export.parity.running import Clips, compare_runs, run_artifact, run_reference, write_clips
from swift_export.parity.targets import Subject, Target
from swift_export.parity.tolerances import tolerance
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
        graphs = {target.path: frames for target in targets if target.runtime is not REFERENCE}
        stated = {"swift_export.weights_sha256": weights.digest}
        # Reading graphs takes one core and little memory: it goes beside the runtimes.
        with Examination(graphs, config, stated, new_folder(folder / "graphs")) as examination:
            # Before the reference: a file that does not load, or an absent GPU, is said at once.
            answers = _answers(targets, plan, clips, folder, failed)
            plan.progress("computing the reference")
            info, expected = run_reference(reference, clips, new_folder(folder / "reference"))
            plan.progress("reading settings from the graphs")
            found = examination.answer()
        tag = WeightsTag(weights.variant, weights.digest, weights.provenance.synthetic)
        checked = []
        for target, answer in answers:
            sizes, allowed = plan.sizes(target), tolerance(answer.info.arithmetic, plan.device)
            comparisons = compare_runs(answer, sizes, expected, target.settings.outputs, allowed)
            cases = [(name, size) for name in clips for size in sizes]
            times = tuple(
                RunTime(name, size, run.first_s, run.call_s, run.compute_s)
                for (name, size), run in zip(cases, answer.runs, strict=True)
            )
            said = tuple(found.get(target.path, ()))
            checked.append(
                Checked(
                    subject.root,
                    target.file,
                    tag,
                    answer.info,
                    answer.load_s,
                    answer.peak_bytes,
                    times,
                    comparisons,
                    said,
                )
            )
    return ParityReport(plan.device, info, tuple(checked))


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
