"""Runs all cases in several processes. A run can be resumed, and a crash affects only one case."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from _conformance.cases import Case
from _conformance.judging import Verdict

__all__ = ["WorkerError", "read_verdicts", "run"]

#: Seconds of silence after which a worker is considered hung. A case takes a fraction of a second.
PATIENCE = 180.0


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Verdicts of earlier runs by case name. A line truncated by an interruption is ignored."""
    verdicts = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            verdict = Verdict(**json.loads(line))
        except (ValueError, TypeError):
            continue
        verdicts[verdict.name] = verdict
    return verdicts


def run(cases: Iterable[Case], path: Path, *, x64: bool, on_progress: Callable[[Verdict], None]) -> dict[str, Verdict]:
    """Judge the cases on all processors, and append each verdict to the file immediately."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    lock = threading.Lock()
    verdicts: dict[str, Verdict] = {}

    def take(verdict: Verdict) -> None:
        with lock:
            verdicts[verdict.name] = verdict
            with path.open("a") as file:
                file.write(json.dumps(verdict.to_dict()) + "\n")
            on_progress(verdict)

    failures: list[WorkerError] = []

    def serve() -> None:
        try:
            while not waiting.empty() and not failures:
                _Worker(x64).serve(waiting, take)
        except WorkerError as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(len(os.sched_getaffinity(0)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return verdicts


class WorkerError(Exception):
    """A worker that cannot run at all."""


class _Worker:
    """One process. If it dies, its current case counts as rejected, and another worker continues."""

    def __init__(self, x64: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "_conformance.worker", "x64" if x64 else "x32"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def serve(self, waiting: queue.SimpleQueue[Case], take: Callable[[Verdict], None]) -> None:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                timer = threading.Timer(PATIENCE, process.kill)
                timer.start()
                try:
                    print(case.name, file=process.stdin, flush=True)
                    lines = [process.stdout.readline(), process.stdout.readline()]
                except BrokenPipeError:
                    lines = ["", ""]
                finally:
                    timer.cancel()
                if not lines[0]:
                    raise WorkerError(f"a worker did not start: status {process.wait()}")
                if not lines[1]:
                    reason = f"the process ended with status {process.wait()}"
                    take(Verdict(case.name, case.primitive, case.dtype, "rejected", reason, case.outside))
                    return
                take(Verdict(**json.loads(lines[1])))
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.terminate()
            process.wait()
