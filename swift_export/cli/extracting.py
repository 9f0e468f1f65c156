"""``extract``: features of a whole cohort, as a BIDS App."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swift_export._version import __version__
from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.cohort_options import SelectionOptions, WorkerOptions
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra
from swift_export.cli.help import BidsCommand
from swift_export.cli.inputs import ScanOptions
from swift_export.cli.signatures import dataclass_options
from swift_export.errors import UsageError
from swift_export.scans.clip_windows import window_count
from swift_export.system.text import listed, plural

if TYPE_CHECKING:
    from swift_export.features.bids.scan_task import Task
    from swift_export.features.cohort.cohort_run import CohortResult
    from swift_export.features.cohort.plan import Outcome, Plan

__all__ = ["extract", "register"]

_LEVELS = ("participant", "group")
_OUTPUT, _WINDOWS = "Output", "Windows"
#: Most scans without features that are printed.
_MOST_COMPLAINTS = 20


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"swift-export {__version__}")
        raise typer.Exit


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        cls=BidsCommand,
        epilog=examples(
            "swift-export extract fmriprep/ features/ participant group --artifact artifacts/contrastive",
            "swift-export extract bids/ features/ participant --artifact artifacts/hcp-sex --participant-label 01 02",
            "swift-export extract 'scans/*_bold.nii.gz' features/ participant --artifact artifacts/hcp-sex --shard 2/8",
        ),
    )(extract)


@dataclass_options(SelectionOptions, "selection")
@dataclass_options(ScanOptions, "scans", without=("masks",))
@dataclass_options(WorkerOptions, "worker")
@json_option("extract")
def extract(
    bids_dir: Annotated[
        str,
        typer.Argument(
            metavar="BIDS_DIR",
            help="fMRIPrep's output, or a BIDS data set with derivatives/fmriprep. Else a folder of NIfTI files, a "
            "pattern in quotes, or a TSV with the columns scan, mask and participant_id. It is only read.",
            show_default=False,
        ),
    ],
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUTPUT_DIR", help="The folder of derivatives.", show_default=False)
    ],
    levels: Annotated[
        list[str],
        typer.Argument(
            metavar="LEVEL...",
            help="participant: features of each scan. group: tables over all scans, and a page for quality control.",
            show_default=False,
        ),
    ],
    artifact: Annotated[
        Path | None,
        typer.Option(
            "--artifact", metavar="PATH", help="An artifact folder, or one of its files. Needed for participant."
        ),
    ] = None,
    output_kind: Annotated[
        Literal["embedding", "tokens", "features", "logits"] | None,
        typer.Option(
            help="tokens, features: also one .safetensors per scan, beside the table of embeddings.",
            show_default="embedding, or logits",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    windows: options.Windows = "all",
    stride: options.Stride = None,
    dummy_scans: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="First frames to drop at least. auto: those that the confounds flag as non-steady-state.",
            rich_help_panel=_WINDOWS,
        ),
    ] = "auto",
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    quiet: options.Quiet = False,
    *,
    selection: SelectionOptions,
    scans: ScanOptions,
    worker: WorkerOptions,
    answer: Answer,
) -> None:
    """Compute features of every scan of a cohort: BIDS derivatives, with all that is needed to repeat them.

    Finished scans are kept: after an interrupt, repeat the command.
    """
    chosen = _levels(levels)
    if stride is not None and stride < 1:
        raise UsageError(f"--stride {stride}: expected at least 1")
    if dummy_scans != "auto" and not re.fullmatch("[0-9]{1,5}", dummy_scans):
        raise UsageError(f"--dummy-scans {dummy_scans}: expected auto, or a number of frames")
    count = window_count(windows)
    scans.check()
    worker.check()
    _check_folders(bids_dir, output_dir)
    console = Console(quiet, json=answer.wanted)
    result = None
    if "participant" in chosen:
        if artifact is None:
            raise UsageError("--artifact: expected the artifact that computes the features, found none")
        need_extra("fmri", "extract: NIfTI runs")
        from swift_export.features.bids.discovery import summary
        from swift_export.features.cohort.shards import parse_shard, shard_of

        shard = parse_shard(worker.shard) if worker.shard else (1, 1)
        tasks = _tasks(bids_dir, selection)
        for line in summary(tasks):
            console.line(line)
        plan = _plan(artifact, output_dir, output_kind, scans, worker, dummy_scans, count, stride, console)
        result = _computed(plan, tasks, shard_of(tasks, *shard), worker, console)
        answer.add(counts=dict(sorted(result.counts.items())), without=result.without)
    if "group" in chosen:
        _write_group(output_dir, console, answer)
    if result is not None and result.without:
        raise typer.Exit(1)


def _levels(levels: Sequence[str]) -> list[str]:
    for level in levels:
        if level not in _LEVELS:
            raise UsageError(f"{level}: expected the levels {listed(_LEVELS)}")
    return [level for level in _LEVELS if level in levels]


def _tasks(source: str, selection: SelectionOptions) -> list[Task]:
    """The scans of a data set, or of a list of files."""
    from swift_export.features.bids.discovery import discover
    from swift_export.features.bids.preprocessed import DESCRIPTION
    from swift_export.features.bids.scan_lists import discover_files

    path = Path(source)
    names = set(os.listdir(path)) if path.is_dir() else set()
    if DESCRIPTION in names or any(name.startswith("sub-") and (path / name).is_dir() for name in names):
        need_extra("scale", f"{source}: a BIDS data set")
        return discover(path, selection.selection())
    if selection.given:
        raise UsageError(
            f"{selection.given}: expected a BIDS data set, found a list of scans, {source}; leave the option out"
        )
    return discover_files(source)


def _check_folders(source: str, output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: expected a folder for the results, found a file")
    if Path(source).exists() and output.exists() and output.samefile(source):
        raise UsageError(f"{output}: expected another folder than that of the scans, which is only read")


def _plan(
    artifact: Path,
    output: Path,
    output_kind: str | None,
    scans: ScanOptions,
    worker: WorkerOptions,
    dummy_scans: str,
    windows: int | None,
    step: int | None,
    console: Console,
) -> Plan:
    """The plan; prints what the artifact decides."""
    from swift_export.features.cohort.plan import Plan
    from swift_export.features.extractor import find_backbone
    from swift_export.features.feature_run import default_kind

    backbone = find_backbone(artifact, worker.runtime, worker.device)
    kind = backbone.kind(output_kind or default_kind(backbone))
    console.placement(scans.reading(backbone.contract), scans.contract(backbone.contract), True)
    if backbone.synthetic:
        console.warning(f"{artifact}: the weights are synthetic: the features mean nothing")
    return Plan(
        artifact=str(artifact.absolute()),
        output=str(output.absolute()),
        kind=kind,
        vector="logits" if kind == "logits" else "embedding",
        channels=backbone.channels,
        runtime=worker.runtime,
        device=worker.device,
        batch=worker.batch,
        placement=scans.placement,
        orientation=scans.orientation,
        drop_frames=scans.dropped,
        dummy_scans=dummy_scans,
        start=scans.start,
        windows=windows,
        step=step,
        resample_tr=scans.resample_tr,
        allow_crop=scans.allow_crop,
        strict=scans.strict,
        work=None if worker.work_dir is None else str(worker.work_dir.absolute()),
    )


def _computed(
    plan: Plan, cohort: Sequence[Task], tasks: Sequence[Task], worker: WorkerOptions, console: Console
) -> CohortResult:
    """Compute ``tasks`` of a cohort; prints what became of them."""
    from swift_export.features.bids.derivative_dataset import write_dataset
    from swift_export.features.cohort.cohort_run import run_cohort
    from swift_export.features.cohort.local_engine import run_locally
    from swift_export.features.cohort.status_table import STATUS_FILE

    output = Path(plan.output)
    for warning in write_dataset(output, cohort, channels=plan.channels, kind=plan.vector):
        console.warning(warning)
    processes, threads = worker.crew(len(tasks))
    plan = replace(plan, threads=threads)

    def engine(plan: Plan, tasks: Sequence[Task]) -> Iterator[Outcome]:
        if not worker.elsewhere:
            return run_locally(plan, tasks, processes)
        from swift_export.features.cohort.dask_engine import run_on_dask

        return run_on_dask(
            plan,
            tasks,
            scheduler=worker.scheduler,
            cluster=worker.cluster,
            workers=worker.workers or 1,
            options=worker.settings(),
        )

    where = worker.scheduler or worker.cluster or str(processes)
    console.facts({"workers  ": f"{where}, {plural(threads, 'thread')} each"})
    with console.progress() as on_progress:
        result = run_cohort(plan, tasks, engine, on_outcome=_Complaints(console).say, on_progress=on_progress)
    counted = listed(f"{number} {status}" for status, number in sorted(result.counts.items()))
    console.line(f"{counted}: {os.path.relpath(output / STATUS_FILE)}")
    return result


def _write_group(output: Path, console: Console, answer: Answer) -> None:
    from swift_export.features.bids.derivative_files import ENDINGS
    from swift_export.features.bids.group_level import write_group
    from swift_export.features.bids.quality_page import Refusal
    from swift_export.features.cohort.status_table import read_status

    if not output.is_dir():
        raise UsageError(f"{output}: expected the results of the level participant, found no such folder")
    without = [row for row in read_status(output).values() if row["status"] not in ("done", "kept")]
    refusals = [Refusal(row["scan"], row["reason"]) for row in without]
    # Scans of one artifact have one kind of table, which is described in the folder.
    kinds = [kind for kind, ending in ENDINGS.items() if (output / f"{ending}.json").is_file()]
    if not kinds:
        kinds = ["embedding"]
    written = [path for kind in kinds for path in write_group(output, refusals, kind)]
    for path in written:
        console.line(f"wrote {path}")
    answer.add(group=[str(path) for path in written])


@dataclass
class _Complaints:
    """Prints why scans have no features, of the first ones."""

    console: Console
    said: int = 0

    def say(self, outcome: Outcome) -> None:
        if not outcome.good:
            self.said += 1
            if self.said <= _MOST_COMPLAINTS:
                self.console.warning(f"{outcome.scan}: {outcome.status}: {outcome.reason}")
            elif self.said == _MOST_COMPLAINTS + 1:
                self.console.warning("further scans without features are in the table of outcomes")
