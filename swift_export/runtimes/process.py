"""Runs artifacts in separate processes, the workers, and reads their answers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from swift_export import errors
from swift_export.errors import SwiftExportError
from swift_export.runtimes.base import AbsentDevice, LoadError, file_label
from swift_export.runtimes.messages import Answer, Failure, Request, read_answer, write_request
from swift_export.runtimes.registry import RUNTIMES
from swift_export.system.processes import TIMEOUT_S, WITHOUT_GPU, Child

__all__ = ["Worker", "environment_of", "error_of", "run_worker", "run_workers", "subject_of"]

_POLL_S = 0.05

_ERRORS: dict[str, type[SwiftExportError]] = {
    "AbsentDevice": AbsentDevice,
    "LoadError": LoadError,
    **{name: getattr(errors, name) for name in errors.__all__},
}


class Worker(Child):
    """One artifact in one process.

    ``folder`` is an empty folder for request, answer and outputs. ``search`` are folders in which the process looks for
    packages first.
    """

    def __init__(self, request: Request, folder: Path, search: Sequence[Path] = ()):
        self._folder = folder
        write_request(request, folder)
        super().__init__("swift_export.runtimes.worker", folder, subject_of(request), environment_of(request, search))

    def answer(self, timeout_s: float = TIMEOUT_S) -> Answer:
        """Wait for the answer; raises the worker's own error, or MachineError without an answer."""
        self.wait(timeout_s)
        answer = read_answer(self._folder)
        if isinstance(answer, Failure):
            raise error_of(answer)
        return answer


def subject_of(request: Request) -> str:
    """The runtime and the artifact of a worker, for error messages."""
    return f"{RUNTIMES[request.runtime].title} on {file_label(Path(request.artifact))}"


def environment_of(request: Request, search: Sequence[Path] = ()) -> dict[str, str]:
    """The environment of a worker, which looks for packages in ``search`` first; on the CPU, it sees no GPU."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, search))}
    return paths | WITHOUT_GPU if request.device == "cpu" else paths


def error_of(failure: Failure) -> SwiftExportError:
    """The worker's own error."""
    return _ERRORS[failure.kind](failure.message)


def run_worker(request: Request, folder: Path, search: Sequence[Path] = (), timeout_s: float = TIMEOUT_S) -> Answer:
    """Start a worker, wait for its answer and end it."""
    with Worker(request, folder, search) as worker:
        return worker.answer(timeout_s)


def run_workers(jobs: Sequence[tuple[Request, Path]], at_once: int, timeout_s: float = TIMEOUT_S) -> list[Answer]:
    """The answers to requests, each in its own folder, with up to ``at_once`` workers side by side.

    The first error or an interrupt ends them all: this thread starts, watches and ends them itself.
    """
    answers: dict[int, Answer] = {}
    waiting = list(enumerate(jobs))
    running: dict[int, Worker] = {}
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, (request, folder) = waiting.pop(0)
                running[number] = stack.enter_context(Worker(request, folder))
            for number, worker in list(running.items()):
                if worker.ended or worker.age_s > timeout_s:
                    answers[number] = worker.answer(timeout_s)
                    del running[number]
            time.sleep(_POLL_S)
    return [answers[number] for number in range(len(jobs))]
