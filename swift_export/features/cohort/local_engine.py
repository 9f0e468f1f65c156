"""Workers on this machine: processes that each load the artifact once and are given the paths of one scan at a time.

A worker that dies, by a fault of a runtime or because memory ran out, is started again, and its scan is given to it
once more. All of them end with this process, however it ends.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from swift_export.errors import MachineError
from swift_export.features.bids.scan_task import Task
from swift_export.features.cohort.plan import Outcome, Plan, task_to
from swift_export.system.plain_data import encode
from swift_export.system.processes import WITHOUT_GPU, ModuleProcess, last_line
from swift_export.system.signals import signals_deferred

__all__ = ["run_locally"]

#: How often a scan whose worker died is tried.
_ATTEMPTS = 3
_POLL_S = 0.1


def run_locally(plan: Plan, tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """The outcome of every task, as soon as it is known.

    Leaving the iteration, by an interrupt too, ends the workers. Raises MachineError if no worker can be started.
    """
    waiting: SimpleQueue[Task] = SimpleQueue()
    for task in tasks:
        waiting.put(task)
    outcomes: SimpleQueue[Outcome | BaseException] = SimpleQueue()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swift-export-")))
        crew = [_Crew(plan, folder / f"worker-{number}.txt") for number in range(min(workers, len(tasks)))]
        for member in crew:
            stack.callback(member.end)
        for member in crew:
            threading.Thread(target=_serve, args=(member, waiting, outcomes), daemon=True).start()
        for _ in tasks:
            yield _next(outcomes)


def _next(outcomes: SimpleQueue[Outcome | BaseException]) -> Outcome:
    while True:  # in steps, so that an interrupt is noticed
        try:
            found = outcomes.get(timeout=_POLL_S)
        except Empty:
            continue
        if isinstance(found, BaseException):
            raise found
        return found


def _serve(member: _Crew, waiting: SimpleQueue[Task], outcomes: SimpleQueue[Outcome | BaseException]) -> None:
    """Give tasks to one worker until none is left."""
    try:
        while True:
            try:
                task = waiting.get_nowait()
            except Empty:
                return
            outcomes.put(member.do(task))
    except BaseException as error:
        outcomes.put(error)


class _Crew:
    """One worker, replaced when it dies. ``log`` receives what it prints."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self._plan = plan
        self._log = log
        self._process: ModuleProcess | None = None
        self._lock = threading.Lock()
        self._ended = False

    def do(self, task: Task) -> Outcome:
        """Have a task done; one whose worker dies again and again has failed."""
        for attempt in range(1, _ATTEMPTS + 1):
            process = self._started()
            answer = _asked(process, json.dumps(task_to(task)))
            if answer:
                return Outcome(**json.loads(answer))
            process.process.wait()
            status = process.process.returncode
            if self._ended or attempt == _ATTEMPTS:
                break
        reason = f"its worker died {_ATTEMPTS} times, {_cause(status, self._log)}"
        return Outcome(task.participant, task.name, "failed", reason=reason)

    def end(self) -> None:
        """End the worker; a task that it has not finished is lost."""
        with signals_deferred():
            self._ended = True
            with self._lock:
                if self._process is not None:
                    self._process.end()

    def _started(self) -> ModuleProcess:
        with self._lock:
            if self._ended:
                raise MachineError("the workers were ended")
            if self._process is None or self._process.ended:
                if self._process is not None:
                    self._process.end()
                self._process = _new_worker(self._plan, self._log)
            return self._process


def _new_worker(plan: Plan, log: Path) -> ModuleProcess:
    environment = WITHOUT_GPU if plan.device == "cpu" else {}
    with log.open("wb") as output:
        process = ModuleProcess(
            "swift_export.features.cohort.scan_worker",
            environment=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    _asked(process, json.dumps(encode(plan)), answer=False)
    return process


def _asked(process: ModuleProcess, line: str, answer: bool = True) -> bytes:
    """Send a line to a worker and read its answer; empty if it has died."""
    stdin: IO[bytes] | None = process.process.stdin
    stdout: IO[bytes] | None = process.process.stdout
    assert stdin is not None
    assert stdout is not None
    try:
        stdin.write(line.encode() + b"\n")
        stdin.flush()
        return stdout.readline() if answer else b""
    except (OSError, ValueError):  # it died, or was ended in another thread
        return b""


def _cause(status: int, log: Path) -> str:
    if status == -9:
        return "killed, probably because memory ran out: use fewer --n-cpus"
    said = last_line(log.read_text(errors="replace")) if log.exists() else "it printed nothing"
    return f"with exit status {status}: {said}"
