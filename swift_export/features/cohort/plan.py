"""The plan of a cohort: what is computed, and how; and the outcome of each scan. Plain data, for any process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from swift_export.features.bids.scan_table import Vector
from swift_export.features.bids.scan_task import Task

__all__ = ["COLUMNS", "Outcome", "Plan", "Status", "plan_from", "task_from", "task_to"]

#: done: computed now. kept: finished by an earlier run. refused: cannot be used. failed: an error. stopped: an error
#: that every other scan would meet, too.
Status = Literal["done", "kept", "refused", "failed", "stopped"]


@dataclass(frozen=True)
class Plan:
    """What is computed of every scan.

    Attributes:
        artifact: path of the artifact.
        output: path of the folder for results.
        kind: the kind of output.
        vector: what a row of the tables is: the mean over tokens of features, or logits.
        channels: its length.
        runtime: the runtime's name; None: the artifact's.
        device: ``cpu`` or ``gpu``.
        threads: threads of each worker.
        batch: windows in a batch.
        placement: a name, point or paddings; None: the artifact's.
        orientation: None: the placement's.
        drop_frames: first and last; None: the placement's.
        dummy_scans: ``auto``, by the confounds of the run, or a number; at least as many first frames are dropped.
        start, windows, step, resample_tr, allow_crop, strict: as in `Reading`.
        work: folder for unpacked runs; None: the one for temporary files.

    """

    artifact: str
    output: str
    kind: str
    vector: Vector
    channels: int
    runtime: str | None = None
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    placement: str | None = None
    orientation: str | None = None
    drop_frames: tuple[int, ...] | None = None
    dummy_scans: str = "auto"
    start: int = 0
    windows: int | None = None
    step: int | None = None
    resample_tr: float | None = None
    allow_crop: bool = False
    strict: bool = False
    work: str | None = None

    def settings(self) -> dict[str, Any]:
        """What results depend on, beside the artifact and the scan."""
        elsewhere = {"artifact", "output", "threads", "work"}
        names = [entry.name for entry in fields(self) if entry.name not in elsewhere]
        found = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def plan_from(data: Mapping[str, Any]) -> Plan:
    """The plan in its fields as plain data."""
    dropped = data["drop_frames"]
    return Plan(**{**data, "drop_frames": None if dropped is None else tuple(dropped)})


#: The columns of a table of outcomes.
COLUMNS = ("participant_id", "scan", "status", "windows", "seconds", "reason")


@dataclass(frozen=True)
class Outcome:
    """What became of a scan. ``scan`` is its name in the cohort, ``seconds`` the time of its worker."""

    participant_id: str
    scan: str
    status: Status
    windows: int | None = None
    seconds: float | None = None
    reason: str | None = None

    @property
    def good(self) -> bool:
        """Whether its features are there."""
        return self.status in ("done", "kept")


def task_to(task: Task) -> dict[str, Any]:
    """A task as plain data for JSON."""
    return {
        "scan": str(task.scan),
        "entities": dict(task.entities),
        "mask": None if task.mask is None else str(task.mask),
        "repetition_time": task.repetition_time,
        "confounds": None if task.confounds is None else str(task.confounds),
        "sidecars": [str(path) for path in task.sidecars],
        "dataset": None if task.dataset is None else str(task.dataset),
        "refusal": task.refusal,
    }


def task_from(data: Mapping[str, Any]) -> Task:
    """The task in the result of `task_to`."""

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    return Task(
        scan=Path(data["scan"]),
        entities=data["entities"],
        mask=path(data["mask"]),
        repetition_time=data["repetition_time"],
        confounds=path(data["confounds"]),
        sidecars=tuple(map(Path, data["sidecars"])),
        dataset=path(data["dataset"]),
        refusal=data["refusal"],
    )
