"""Options of cohorts: which scans, and which workers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swift_export.cli import options
from swift_export.cli.extras import need_extra, need_runtime
from swift_export.cli.lists import REPEATED, words
from swift_export.errors import UsageError
from swift_export.system.machine import all_processors, free_memory

if TYPE_CHECKING:
    from swift_export.features.bids.scan_selection import Selection

__all__ = ["SelectionOptions", "WorkerOptions"]

_SELECTION, _WORKERS = "Selection", "Workers"
#: Dask's protocols between machines, with host and port.
_SCHEDULER = r"((tcp|tls|ucx|ws|wss)://)?[^/\s]+:\d{1,5}"
#: Memory of one worker: the artifact in its runtime, a clip, and a piece of the run.
_WORKER_BYTES = 1_500_000_000


def _labels(of: str) -> Any:
    return typer.Option(metavar="LABEL...", help=f"Only {of}, with or without its key.", rich_help_panel=_SELECTION)


@dataclass(frozen=True)
class SelectionOptions:
    """Which scans of a BIDS data set are wanted."""

    participant_label: Annotated[list[str] | None, _labels("these participants")] = None
    session_label: Annotated[list[str] | None, _labels("these sessions")] = None
    task_id: Annotated[list[str] | None, _labels("these tasks")] = None
    run_id: Annotated[list[str] | None, _labels("these runs")] = None
    space: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="The space.",
            show_default="MNI152NLin6Asym, else MNI152NLin2009cAsym",
            rich_help_panel=_SELECTION,
        ),
    ] = None
    bids_filter_file: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="A filter file, as fMRIPrep takes it.", rich_help_panel=_SELECTION),
    ] = None
    derivatives: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH...", help="Other folders of preprocessed data.", rich_help_panel=_SELECTION),
    ] = None
    skip_bids_validation: Annotated[
        bool,
        typer.Option(
            "--skip-bids-validation",
            help="Accepted as in other BIDS Apps: each scan is checked as it is read, whatever its data set.",
            rich_help_panel=_SELECTION,
        ),
    ] = False

    @property
    def given(self) -> str | None:
        """The first option that selects, if any does."""
        values = {name: value for name, value in vars(self).items() if name != "skip_bids_validation"}
        return next((f"--{name.replace('_', '-')}" for name, value in values.items() if value), None)

    def selection(self) -> Selection:
        """The selection; raises UsageError for labels that BIDS does not allow."""
        from swift_export.features.bids.scan_selection import selection_of

        return selection_of(
            participants=words(self.participant_label, "--participant-label"),
            sessions=words(self.session_label, "--session-label"),
            tasks=words(self.task_id, "--task-id"),
            runs=words(self.run_id, "--run-id"),
            space=self.space,
            filter_file=self.bids_filter_file,
            derivatives=self.derivatives or (),
        )


@dataclass(frozen=True)
class WorkerOptions:
    """Where and how scans are computed."""

    runtime: options.RuntimeName = None
    device: options.RuntimeDevice = "cpu"
    batch: options.WindowsTogether = 1
    n_cpus: Annotated[
        int | None,
        typer.Option(
            "--n-cpus",
            metavar="N",
            help="Processors on this machine; of a cluster, of each worker.",
            show_default="all, as far as memory suffices; of a cluster, 1",
            rich_help_panel=_WORKERS,
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only every N-th scan, from the I-th on, for array jobs.", rich_help_panel=_WORKERS
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, such as tcp://host:8786.", rich_help_panel=_WORKERS),
    ] = None
    cluster: Annotated[
        Literal["slurm", "pbs", "sge", "lsf"] | None,
        typer.Option(help="A batch system that starts the workers, by Dask.", rich_help_panel=_WORKERS),
    ] = None
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Jobs of the batch system.", rich_help_panel=_WORKERS)
    ] = None
    cluster_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help=f"A setting of dask-jobqueue, such as queue=normal or walltime=02:00:00. {REPEATED}",
            rich_help_panel=_WORKERS,
        ),
    ] = None
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", metavar="FOLDER", help="For temporary files.", rich_help_panel=_WORKERS),
    ] = None

    def check(self) -> None:
        """Raise UsageError for invalid values; require the extras."""
        for name, value in (("--batch", self.batch), ("--n-cpus", self.n_cpus), ("--workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: expected at least 1")
        if self.scheduler and not re.fullmatch(_SCHEDULER, self.scheduler):
            raise UsageError(f"--scheduler {self.scheduler}: expected an address such as tcp://host:8786")
        if self.scheduler and self.cluster:
            raise UsageError("--cluster: expected either a scheduler or a batch system, found both")
        if self.work_dir is not None and not self.work_dir.is_dir():
            raise UsageError(f"--work-dir {self.work_dir}: expected an existing folder")
        self.settings()
        need_runtime(self.runtime)
        if self.elsewhere:
            need_extra("scale", "--scheduler" if self.scheduler else f"--cluster {self.cluster}")

    @property
    def elsewhere(self) -> bool:
        """Whether workers are not started here."""
        return bool(self.scheduler or self.cluster)

    def crew(self, scans: int) -> tuple[int, int]:
        """Numbers of workers on this machine, and of threads of each worker."""
        if self.elsewhere:
            return 1, self.n_cpus or 1
        found = self.n_cpus or all_processors()
        if self.device == "gpu":
            return 1, found
        # Workers of one thread are fastest: no thread then waits for another.
        workers = max(1, min(found, scans))
        free = free_memory()
        if self.n_cpus is None and free is not None:
            workers = max(1, min(workers, free // _WORKER_BYTES))
        return workers, max(1, found // workers)

    def settings(self) -> dict[str, str]:
        """The settings of dask-jobqueue."""
        found = {}
        for text in self.cluster_option or ():
            name, equals, value = text.partition("=")
            if not equals or not re.fullmatch("[a-z_]+", name):
                raise UsageError(f"--cluster-option {text}: expected NAME=VALUE")
            found[name] = value
        return found
