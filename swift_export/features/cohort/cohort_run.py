"""Runs a cohort: gives its scans to an engine, keeps the table of outcomes, and stops where no scan could succeed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swift_export.errors import MachineError
from swift_export.features.bids.scan_task import Task
from swift_export.features.cohort.plan import Outcome, Plan
from swift_export.features.cohort.status_table import update_status
from swift_export.system.progress import Progress, clock, ignore_line

__all__ = ["CohortResult", "Engine", "run_cohort"]

#: Computes tasks; the outcomes come in any order.
Engine = Callable[[Plan, Sequence[Task]], Iterator[Outcome]]

#: Seconds between two updates of the table of outcomes.
_UPDATE_S = 2.0


@dataclass
class CohortResult:
    """How many scans had each outcome, and which have no features."""

    counts: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    without: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.status] += 1
        if outcome.status == "done":
            self.windows += outcome.windows or 0
        if not outcome.good:
            self.without.append(outcome)


def run_cohort(
    plan: Plan,
    tasks: Sequence[Task],
    engine: Engine,
    *,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    on_progress: Progress = ignore_line,
) -> CohortResult:
    """Compute all scans of a cohort that are not finished. An error of one scan is its outcome, and the others go on.

    Every outcome is in the table ``logs/status.tsv`` of the output folder, also after an interrupt.

    Raises MachineError, and those of the engine, if no further scan can be computed; finished ones stay.
    """
    output, result, pace = Path(plan.output), CohortResult(), _Pace(len(tasks))
    unsaved: list[Outcome] = []
    saved = time.monotonic()
    on_progress(f"scan 0 of {len(tasks)}")
    try:
        for outcome in engine(plan, tasks) if tasks else ():
            unsaved.append(outcome)
            result.add(outcome)
            if outcome.status == "stopped":
                raise MachineError(f"{outcome.reason}; finished scans are kept: repeat the command afterwards")
            on_outcome(outcome)
            on_progress(pace.line(outcome, result))
            if time.monotonic() - saved > _UPDATE_S:
                update_status(output, unsaved)
                unsaved, saved = [], time.monotonic()
    finally:
        if unsaved:
            update_status(output, unsaved)
    return result


@dataclass(eq=False)
class _Pace:
    """The progress of a cohort: scans, clips per second, and the time left."""

    scans: int
    begun: float = field(default_factory=time.monotonic)
    ended: int = 0
    computed: int = 0
    windows: int = 0

    def line(self, outcome: Outcome, result: CohortResult) -> str:
        self.ended += 1
        self.computed += outcome.status == "done"
        self.windows += (outcome.windows or 0) if outcome.status == "done" else 0
        without = f", {len(result.without)} without features" if result.without else ""
        line = f"{self.ended} of {self.scans} scans{without}"
        if not self.computed:
            return line
        seconds = time.monotonic() - self.begun
        # Scans that were kept or refused take no time.
        left = seconds / self.computed * (self.scans - self.ended)
        return f"{line}, {self.windows / seconds:.2f} clips/s, {clock(left)} left"
