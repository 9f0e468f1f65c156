"""Runs the workers in turn and collects the figures of every row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from _bench.exporting import count_nodes, run_export
from _bench.rows import EXPORTS, REFERENCE, Row, absent
from _bench.worker import Spec
from _bench.workers import Broken, Worker
from swift_export.system.rounds import Timing as Series
from swift_export.system.rounds import take_turns

__all__ = ["Bench", "Figures", "Timing", "relative_l2"]

#: A faster load is repeated in fresh processes, because short times vary most.
QUICK_S = 1.0
LOADS = 3


@dataclass
class Timing:
    """Times of one row at one batch size, and of the reference row in the same rounds."""

    seconds: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return Series(self.seconds).median

    @property
    def best(self) -> float:
        return Series(self.seconds).best

    @property
    def ratio(self) -> float:
        """Ratio of the medians, which come from the same rounds."""
        return Series(self.seconds).ratio(Series(self.reference))


@dataclass
class Figures:
    """Results of a row: ``timings`` by batch size; ``reason`` explains missing figures."""

    row: Row
    status: str = "measured"
    reason: str = ""
    timings: dict[int, Timing] = field(default_factory=dict)
    load_s: float | None = None
    peak: float | None = None
    loaded: float | None = None
    memory: float | None = None
    export_s: float | None = None
    size: int | None = None
    nodes: int | None = None
    error: float | None = None

    @property
    def failed(self) -> bool:
        """Whether this row fails the run. Missing runtimes and files for another runtime do not."""
        return self.status == "failed" and not self.row.optional


class Bench:
    """One run over ``rows``, the first of which is the reference of all ratios.

    ``folder`` is scratch space, and ``on_progress`` gets a line of text per step. ``idle`` is the largest share of a
    core that waiting workers used during the inference of another.
    """

    def __init__(
        self, rows: Sequence[Row], bundle: Path, threads: int, folder: Path, on_progress: Callable[[str], None]
    ):
        self.figures = {row.name: Figures(row) for row in rows}
        self.idle = 0.0
        self._bundle = bundle
        self._threads = threads
        self._folder = folder
        self._on_progress = on_progress
        self._peak = 0.0
        for figures in self.figures.values():
            export = EXPORTS.get(figures.row.export or "")
            if package := absent([*figures.row.packages, *(export.packages if export else ())]):
                figures.status, figures.reason = "not installed", package

    def _alive(self) -> list[Figures]:
        return [figures for figures in self.figures.values() if figures.status == "measured"]

    def export(self) -> None:
        """Make the files of all rows, each in a separate, timed process."""
        for name in dict.fromkeys(f.row.export for f in self._alive() if f.row.export):
            self._on_progress(f"exporting {name}")
            users = [figures for figures in self._alive() if figures.row.export == name]
            try:
                seconds = run_export(name, self._bundle, self._folder / name, self._threads)
            except Broken as broken:
                for figures in users:
                    figures.status, figures.reason = "failed", f"export: {broken}"
                continue
            for figures in users:
                path = self._path(figures.row)
                files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
                figures.export_s, figures.size = seconds, sum(file.stat().st_size for file in files)
                figures.nodes = count_nodes(path) if path.suffix == ".onnx" else None

    def _path(self, row: Row) -> Path:
        return self._folder / row.export / row.path if row.export else self._bundle

    def measure(self, clips: Float[np.ndarray, "batch c h w d t"], rounds: int) -> None:
        """Time every row that accepts this batch. Each runs once per round; the first of the ``rounds`` does not count.

        As many workers are loaded at once as fit into memory. The reference row takes part in every group.

        Raises:
            Broken: the reference row failed.

        """
        batch = len(clips)
        path = self._folder / f"clips{batch}.npy"
        np.save(path, clips)
        waiting = [f for f in self._alive() if batch == 1 or f.row.batched]
        assert waiting, "the reference row is always selected"
        assert waiting[0].row is REFERENCE, "the reference row is installed and comes first"
        first, *waiting = waiting
        with self._worker(first.row, path, batch) as base:
            self._load(first, base, batch)
            more = True
            while more:
                with ExitStack() as stack:
                    group = [(first, base)]
                    while waiting and (len(group) == 1 or available_memory() > self._need(waiting[0], batch)):
                        figures = waiting.pop(0)
                        worker = stack.enter_context(self._worker(figures.row, path, batch))
                        if self._load(figures, worker, batch):
                            group.append((figures, worker))
                    self._on_progress(f"batch {batch}: {rounds} rounds of {', '.join(f.row.name for f, _ in group)}")
                    self._take_turns(group, batch, rounds)
                more = bool(waiting)

    def _need(self, figures: Figures, batch: int) -> float:
        """Free bytes needed to load one more worker: its peak, and the peak of the worker that computes meanwhile."""
        return self._peak + batch * (figures.peak or self._peak)

    def _worker(self, row: Row, clips: Path, batch: int) -> Worker:
        features = str(self._folder / f"{row.name}{batch}.npy")
        spec = Spec(row.engine, list(row.packages), str(self._path(row)), str(clips), features, self._threads)
        return Worker(spec, self._folder / f"{row.name}.log")

    def _load(self, figures: Figures, worker: Worker, batch: int) -> bool:
        """Load and check a row; returns whether it can be timed."""
        row = figures.row
        self._on_progress(f"batch {batch}: loading {row.name}")
        try:
            answers = [worker.ask("load")]
            while batch == 1 and len(answers) < LOADS and answers[0]["load_s"] < QUICK_S:
                with self._worker(row, self._folder / f"clips{batch}.npy", batch) as another:
                    answers.append(another.ask("load"))
        except Broken as broken:
            self._give_up(figures, broken)
            return False
        peak = max(answer["peak"] for answer in answers)
        self._peak = max(self._peak, peak)
        if batch == 1:
            figures.peak = peak
            figures.load_s = statistics.median(answer["load_s"] for answer in answers)
            figures.loaded = statistics.median(answer["loaded"] for answer in answers)
            figures.memory = statistics.median(answer["memory"] for answer in answers)
        wanted, found = (np.load(self._folder / f"{name}{batch}.npy") for name in (REFERENCE.name, row.name))
        figures.error = max(figures.error or 0.0, relative_l2(found, wanted))
        return True

    def _give_up(self, figures: Figures, broken: Broken) -> None:
        """Exclude a row from the rest of the run; raises if it is the reference row."""
        if figures.row is REFERENCE:
            raise broken
        self._on_progress(f"{figures.row.name}: {broken}")
        figures.status, figures.reason = "failed", str(broken)

    def _take_turns(self, group: Sequence[tuple[Figures, Worker]], batch: int, rounds: int) -> None:
        take_turns({figures.row.name: partial(self._turn, figures, worker, ()) for figures, worker in group}, least=1)
        alive = [member for member in group if member[0].status == "measured"]
        turns = {figures.row.name: partial(self._turn, figures, worker, alive) for figures, worker in alive}
        seconds = take_turns(turns, least=rounds - 1)
        base = seconds[REFERENCE.name]
        for figures, _ in group:
            if figures.status == "measured":
                # The reference row is in every group.
                timing = figures.timings.setdefault(batch, Timing())
                timing.seconds += seconds[figures.row.name]
                timing.reference += base

    def _turn(self, figures: Figures, worker: Worker, group: Sequence[tuple[Figures, Worker]]) -> list[float] | None:
        """One inference; what the others of ``group`` compute meanwhile counts as idle."""
        others = [other for rival, other in group if other is not worker and rival.status == "measured"]
        before = sum(other.cpu_seconds() for other in others)
        try:
            took: float = worker.ask("run")["seconds"]
        except Broken as broken:
            self._give_up(figures, broken)
            return None
        # The kernel counts in hundredths of a second, too coarse for a short call.
        if took > 0.1:
            self.idle = max(self.idle, (sum(other.cpu_seconds() for other in others) - before) / took)
        return [took]


def relative_l2(found: np.ndarray, wanted: np.ndarray) -> float:
    """Norm of the difference over the norm of ``wanted``; infinite if the shapes differ."""
    if found.shape != wanted.shape:
        return float("inf")
    error = float(np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64)))
    return error if np.isfinite(error) else float("inf")


def available_memory() -> int:
    """Bytes of available memory on this machine."""
    (line,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")]
    return int(line.split()[1]) * 1024
