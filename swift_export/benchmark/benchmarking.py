"""Runs a benchmark: the rows of one batch size, each loaded into a process, compute in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.benchmark.bench_rows import Benchmark, Row
from swift_export.benchmark.bench_worker import FAILURE
from swift_export.benchmark.contenders import Contender
from swift_export.errors import MachineError, SwiftExportError
from swift_export.models import CheckInput
from swift_export.parity.measure.cases import Files, write_cases
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.runtimes.base import RuntimeInfo
from swift_export.runtimes.messages import Failure, Request, Run, write_request
from swift_export.runtimes.process import environment_of, error_of, subject_of
from swift_export.system.arrays import is_float, load_array
from swift_export.system.conversations import Conversation
from swift_export.system.energy import Energy, card_energy, package_energy
from swift_export.system.machine import free_memory
from swift_export.system.nvml import find_card
from swift_export.system.process_figures import cpu_seconds
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.rounds import take_turns
from swift_export.system.text import plural

__all__ = ["run_benchmark"]

_WORKER = "swift_export.benchmark.bench_worker"
#: Calls that are shorter are repeated within a turn: others have used the caches before.
_TURN_S = 0.05
_LEAST_ROUNDS = 5
#: The counters of energy are updated some ten times per second.
_ENERGY_S = 2.0
#: Different items of a batch; a larger batch repeats them.
_DIFFERENT = 4
#: Processor time is counted in hundredths of a second, too coarse for a shorter turn.
_LONG_S = 0.1
#: The memory of a row that is not loaded yet, relative to the largest one so far.
_ROOM = 1.25


def run_benchmark(
    bench: Benchmark,
    inputs: Sequence[CheckInput] = (),
    *,
    copies: bool | None = None,
    progress: Progress = ignore_line,
) -> None:
    """Fill the rows of a benchmark.

    Args:
        bench: the rows; they keep what was measured if this is interrupted.
        inputs: the first one replaces the model's own input.
        copies: whether to time calls from arrays to arrays, too; by default on a GPU.
        progress: called with a short text at each step.

    A row that cannot be loaded or run has the status ``failed``, with its reason, and the others go on. Raises
    MachineError if the disk is full.
    """
    with scratch_folder() as folder:
        run = _Running(bench, tuple(inputs), copies, progress, folder)
        for items in dict.fromkeys(row.contender.items for row in bench.rows):
            run.measure([row for row in bench.rows if row.contender.items == items])


@dataclass(eq=False)
class _Loaded:
    """A row in its process."""

    row: Row
    process: Conversation
    outputs: Mapping[str, str]


class _Running:
    def __init__(
        self, bench: Benchmark, inputs: tuple[CheckInput, ...], copies: bool | None, progress: Progress, folder: Path
    ):
        self._bench = bench
        self._inputs = inputs
        self._copies = copies
        self._progress = progress
        self._folder = folder
        self._files: dict[tuple[Any, ...], Files] = {}
        self._started = 0
        self._counters: dict[str, Callable[[], Energy | None]] = {"cpu": package_energy, "gpu": card_energy}

    def measure(self, rows: Sequence[Row]) -> None:
        """Measure the rows of one batch size; the baseline takes part in every group of rows that fit into memory."""
        against = self._bench.against
        waiting = sorted(rows, key=lambda row: not _is_baseline(row.contender, against))
        with ExitStack() as whole:
            base = None
            if _is_baseline(waiting[0].contender, against):
                base = self._load(waiting.pop(0), whole, None)
            more = True
            while more:
                with ExitStack() as stack:
                    group = [] if base is None else [base]
                    while waiting and (len(group) < 2 or self._fits(group, waiting[0])):
                        loaded = self._load(waiting.pop(0), stack, base)
                        group += [] if loaded is None else [loaded]
                    self._time(group, base)
                more = bool(waiting)

    def _fits(self, group: Sequence[_Loaded], row: Row) -> bool:
        """Whether another process, as large as the largest so far, fits beside a group."""
        free, largest = free_memory(), max(member.row.peak or 0 for member in group)
        if free is not None and free < _ROOM * largest:
            return False
        card = find_card() if row.contender.device == "gpu" else None
        left = None if card is None else card.free_bytes()
        return left is None or left > _ROOM * max(member.row.device_memory or 0 for member in group)

    def _load(self, row: Row, stack: ExitStack, base: _Loaded | None) -> _Loaded | None:
        """Start the process of a row and compare its outputs with the baseline's; None if it fails."""
        one = row.contender
        self._progress(f"loading {one}")
        self._started += 1
        folder = new_folder(self._folder / f"worker{self._started}")
        card = find_card() if one.device == "gpu" else None
        before = None if card is None else card.used_bytes()
        run = Run(self._written(one))
        request = Request(one.runtime.name, str(one.path), one.device, (run,), one.precision, self._bench.threads)
        write_request(request, folder)
        process = stack.enter_context(Conversation(_WORKER, folder, subject_of(request), environment_of(request)))
        try:
            answer = _asked(process, do="load")
            info = answer["info"]
            row.info = RuntimeInfo(**{**info, "providers": tuple(info["providers"])})
            row.load_s, row.first_s = answer["load_s"], answer["first_s"]
            row.peak = _asked(process, do="memory")["peak_bytes"]
            after = None if card is None else card.used_bytes()
            row.device_memory = None if before is None or after is None else max(0, after - before)
            loaded = _Loaded(row, process, answer["outputs"])
            row.relative_l2 = _difference(loaded, base)
        except SwiftExportError as error:
            process.end()
            _fail(row, error)
            return None
        return loaded

    def _written(self, one: Contender) -> Files:
        """The files of a contender's inputs; they are written once for all that take the same."""
        model = one.model
        source = (*self._inputs, *model.check_inputs)[0]
        # Only a batch of any size can be drawn in part.
        free = model.batched and model.batch is None
        different = {"batch": min(one.items, _DIFFERENT)} if free else one.sizes
        key = (model.inputs, _described(source), tuple(different.items()))
        if key not in self._files:
            self._progress("drawing the inputs")
            (case,) = write_cases(model, [source], [different], new_folder(self._folder / f"inputs{len(self._files)}"))
            self._files[key] = case.files
        files = self._files[key]
        if not model.batched:
            return files
        return {name: tuple(items[n % len(items)] for n in range(one.items)) for name, items in files.items()}

    def _time(self, group: Sequence[_Loaded], base: _Loaded | None) -> None:
        """Let the rows of a group compute in turn, and finish their figures."""
        if not group:
            return
        beside: list[float] = []
        for member in group:
            member.row.baseline = member.row.compute if member is base else beside
        items = group[0].row.contender.items
        named = {str(number): member for number, member in enumerate(group)}
        warm = take_turns({name: partial(self._turn, member, [], []) for name, member in named.items()}, least=1)
        alive = [named[name] for name in warm]
        self._progress(f"batch {items}: {plural(len(alive), 'row')} in turn")
        begun, budget = time.monotonic(), self._bench.seconds * len(alive)
        turns = {
            str(number): partial(self._turn, member, alive, beside if member is base else [], begun, budget)
            for number, member in enumerate(alive)
        }
        take_turns(turns, least=_LEAST_ROUNDS, seconds=budget)
        for member in alive:
            if member.row.status != "failed":
                self._finish(member)

    def _turn(
        self,
        member: _Loaded,
        alive: Sequence[_Loaded],
        beside: list[float],
        begun: float = 0.0,
        budget: float = 0.0,
    ) -> list[float] | None:
        """One turn of a row; None if it fails. It counts, in ``beside`` too, unless ``alive`` is empty."""
        row = member.row
        copies = row.contender.device == "gpu" if self._copies is None else self._copies
        others = [other.process.pid for other in alive if other is not member and other.row.status != "failed"]
        before = sum(map(cpu_seconds, others))
        try:
            found = _asked(member.process, do="turn", seconds=_TURN_S, copies=copies)
        except SwiftExportError as error:
            _fail(row, error)
            return None
        took: list[float] = found["compute_s"]
        if not alive:
            return took
        row.status = "measured"
        row.compute += took
        row.copied += found["call_s"]
        beside += took
        if (whole := sum(took) + sum(found["call_s"])) > _LONG_S:
            self._bench.idle = max(self._bench.idle, (sum(map(cpu_seconds, others)) - before) / whole)
        share = min(1.0, (time.monotonic() - begun) / budget) if budget else 1.0
        self._progress(f"{share:.0%}, {row.contender}: {1e3 * took[-1]:.4g} ms")
        return took

    def _finish(self, member: _Loaded) -> None:
        """The figures that need the time of the rounds: energy and the peak of memory."""
        row, device = member.row, member.row.contender.device
        counter = self._counters[device]()
        try:
            if counter is not None:
                self._bench.energy_of[device] = counter.of
                self._progress(f"energy of {row.contender}")
                start = counter.joules()
                calls = len(_asked(member.process, do="turn", seconds=_ENERGY_S, copies=False)["compute_s"])
                row.joules = (counter.joules() - start) / calls / row.contender.items
            row.peak = _asked(member.process, do="memory")["peak_bytes"]
        except SwiftExportError as error:
            _fail(row, error)


def _asked(process: Conversation, **request: Any) -> dict[str, Any]:
    answer: dict[str, Any] = process.ask(request)
    if FAILURE in answer:
        raise error_of(Failure(**answer[FAILURE]))
    return answer


def _fail(row: Row, error: SwiftExportError) -> None:
    row.status, row.reason = "failed", str(error)


def _is_baseline(one: Contender, against: Contender) -> bool:
    """Whether a row is the baseline of its batch size."""
    fields = ("artifact", "path", "runtime", "device", "precision")
    return all(getattr(one, name) == getattr(against, name) for name in fields)


def _described(source: CheckInput) -> str:
    return repr(source.describe())


def _difference(loaded: _Loaded, base: _Loaded | None) -> float | None:
    """The largest relative L2 of the outputs that the baseline has, too; None for other weights and other shapes.

    Raises MachineError for outputs that are not finite.
    """
    found = {name: load_array(file) for name, file in loaded.outputs.items()}
    for name, array in found.items():
        if is_float(array.dtype) and not bool((abs(array) < math.inf).all()):
            raise MachineError(f"output {name} is not finite; check the artifact with swift-export check")
    if base is None or base.row.contender.digest != loaded.row.contender.digest:
        return None
    worst = []
    for name, array in found.items():
        if name not in base.outputs:
            return None
        wanted = load_array(base.outputs[name])
        if array.shape != wanted.shape or is_float(array.dtype) != is_float(wanted.dtype):
            return None
        if array.dtype != wanted.dtype:
            array, wanted = array.astype(np.float64), wanted.astype(np.float64)
        worst.append(compare(array, wanted).relative_l2)
    return max(worst, default=None)
