"""``extract``: features of a whole cohort, as a BIDS App."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swift_export._version import __version__
from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra
from swift_export.cli.help import BidsCommand
from swift_export.cli.inputs import (
    AllowCrop,
    DropFrames,
    Orientation,
    PlacementOption,
    ResampleTR,
    ScanOptions,
    Start,
    Strict,
)
from swift_export.cli.lists import REPEATED, words
from swift_export.cli.scan_outputs import window_count
from swift_export.errors import UsageError
from swift_export.system.machine import free_memory, processors
from swift_export.system.text import listed

if TYPE_CHECKING:
    from swift_export.features.bids.scan_task import Task
    from swift_export.features.cohort.plan import Outcome, Plan

__all__ = ["extract", "register"]

_LEVELS = ("participant", "group")
_SELECTION, _OUTPUT, _WORKERS, _WINDOWS = "Selection", "Output", "Workers", "Windows"
#: Memory of one worker: the artifact in its runtime, a clip, and a piece of the run.
_WORKER_BYTES = 1_500_000_000
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
    windows: Annotated[
        str, typer.Option(metavar="all|N", help="Number of windows of each scan.", rich_help_panel=_WINDOWS)
    ] = "all",
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Frames between the starts of consecutive windows.",
            show_default="no overlap",
            rich_help_panel=_WINDOWS,
        ),
    ] = None,
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
    answer: Answer,
) -> None:
    """Compute features of every scan of a cohort: BIDS derivatives, with all that is needed to repeat them.

    Finished scans are kept: after an interrupt, repeat the command.
    """
    from swift_export.features.bids.derivative_dataset import write_dataset
    from swift_export.features.bids.discovery import summary
    from swift_export.features.cohort.cohort_run import run_cohort
    from swift_export.features.cohort.local_engine import run_locally
    from swift_export.features.cohort.plan import Plan
    from swift_export.features.cohort.scan_job import vector_of
    from swift_export.features.cohort.shards import parse_shard, shard_of
    from swift_export.features.cohort.status_table import STATUS_FILE
    from swift_export.features.extractor import find_backbone
    from swift_export.features.feature_run import default_kind

    chosen = _levels(levels)
    for name, value in (("--batch", batch), ("--stride", stride), ("--n-cpus", n_cpus), ("--workers", workers)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if dummy_scans != "auto" and not re.fullmatch("[0-9]{1,5}", dummy_scans):
        raise UsageError(f"--dummy-scans {dummy_scans}: expected auto, or a number of frames")
    if scheduler and cluster:
        raise UsageError("--cluster: expected either a scheduler or a batch system, found both")
    scans = ScanOptions(placement, orientation, drop_frames, None, start, resample_tr, allow_crop, strict)
    scans.check()
    count = window_count(windows)
    numbers = parse_shard(shard) if shard else None
    if "participant" in chosen:
        if artifact is None:
            raise UsageError("--artifact: expected the artifact that computes the features, found none")
        need_extra("fmri", "extract: NIfTI runs")
        if runtime in ("openvino", "tensorflow"):
            need_extra({"openvino": "openvino", "tensorflow": "savedmodel"}[runtime], f"--runtime {runtime}")
        if scheduler or cluster:
            need_extra("scale", "--scheduler" if scheduler else f"--cluster {cluster}")
    console = Console(quiet, json=answer.wanted)
    tasks = _tasks(
        bids_dir,
        participants=words(participant_label, "--participant-label"),
        sessions=words(session_label, "--session-label"),
        tasks=words(task_id, "--task-id"),
        runs=words(run_id, "--run-id"),
        space=space,
        filter_file=bids_filter_file,
        derivatives=derivatives or (),
    )
    for line in summary(tasks):
        console.line(line)
    _check_folders(bids_dir, output_dir, work_dir)
    passed = True
    if "participant" in chosen:
        assert artifact is not None
        backbone = find_backbone(artifact, runtime, device)
        kind = backbone.kind(output_kind or default_kind(backbone))
        reading = scans.reading(backbone.contract, windows=count, step=stride)
        console.placement(reading, scans.contract(backbone.contract), True)
        if backbone.synthetic:
            console.warning(f"{artifact}: the weights are synthetic: the features mean nothing")
        output_dir.mkdir(parents=True, exist_ok=True)
        write_dataset(output_dir, tasks, channels=backbone.channels, kind=vector_of(backbone))
        mine = shard_of(tasks, *numbers) if numbers else tasks
        processes, threads = _crew(n_cpus, len(mine), device, bool(scheduler or cluster))
        plan = Plan(
            artifact=str(artifact.absolute()),
            output=str(output_dir.absolute()),
            kind=kind,
            runtime=runtime,
            device=device,
            threads=threads,
            batch=batch,
            placement=placement,
            orientation=orientation,
            drop_frames=scans.dropped,
            dummy_scans=dummy_scans,
            start=start,
            windows=count,
            step=stride,
            resample_tr=resample_tr,
            allow_crop=allow_crop,
            strict=strict,
            work=None if work_dir is None else str(work_dir.absolute()),
        )
        if scheduler or cluster:
            settings = _settings(cluster_option)

            def engine(plan: Plan, tasks: Sequence[Task]) -> Iterator[Outcome]:
                from swift_export.features.cohort.dask_engine import run_on_dask

                return run_on_dask(
                    plan, tasks, scheduler=scheduler, cluster=cluster, workers=workers or 1, options=settings
                )
        else:

            def engine(plan: Plan, tasks: Sequence[Task]) -> Iterator[Outcome]:
                return run_locally(plan, tasks, processes)

            title = backbone.runtime.title
            console.facts({"workers  ": f"{processes} of {threads} {_plural('thread', threads)}, {title}"})
        with console.progress() as on_progress:
            result = run_cohort(plan, mine, engine, on_outcome=_Complaints(console).say, on_progress=on_progress)
        counts = dict(sorted(result.counts.items()))
        console.line(f"{listed(f'{number} {status}' for status, number in counts.items())}: {output_dir / STATUS_FILE}")
        answer.add(counts=counts, status=str(output_dir / STATUS_FILE), without=result.without)
        passed = not result.without
    if not passed:
        raise typer.Exit(1)


def _levels(levels: Sequence[str]) -> list[str]:
    for level in levels:
        if level not in _LEVELS:
            raise UsageError(f"{level}: expected the levels {listed(_LEVELS)}")
    return [level for level in _LEVELS if level in levels]


def _tasks(source: str, **selected: Any) -> list[Task]:
    """The scans of a data set, or of a list of files."""
    from swift_export.features.bids.discovery import discover
    from swift_export.features.bids.preprocessed import DESCRIPTION
    from swift_export.features.bids.scan_lists import discover_files
    from swift_export.features.bids.scan_selection import selection_of

    path = Path(source)
    names = set(os.listdir(path)) if path.is_dir() else set()
    if DESCRIPTION in names or any(name.startswith("sub-") and (path / name).is_dir() for name in names):
        return discover(path, selection_of(**selected))
    if given := [name for name, value in selected.items() if value]:
        raise UsageError(
            f"{source}: expected a BIDS data set, from which to select {given[0]}, found a list of scans; leave the "
            "selection out"
        )
    return discover_files(source)


def _check_folders(source: str, output: Path, work: Path | None) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: expected a folder for the results, found a file")
    if Path(source).exists() and output.exists() and output.samefile(source):
        raise UsageError(f"{output}: expected another folder than that of the scans, which is only read")
    if work is not None and not work.is_dir():
        raise UsageError(f"--work-dir {work}: expected an existing folder")


def _crew(wanted: int | None, scans: int, device: str, elsewhere: bool) -> tuple[int, int]:
    """Numbers of workers, and of threads of each."""
    if elsewhere:
        return 1, wanted or 1
    found = wanted or processors()
    if device == "gpu":
        return 1, found
    # One thread a worker is fastest: nothing then waits for another thread.
    workers = max(1, min(found, scans))
    free = free_memory()
    if wanted is None and free is not None:
        workers = max(1, min(workers, free // _WORKER_BYTES))
    return workers, max(1, found // workers)


def _settings(given: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--cluster-option {text}: expected NAME=VALUE")
        found[name] = value
    return found


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


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
