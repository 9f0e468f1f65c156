"""Child processes that do one job in a folder, and what becomes of them: an answer or one clear error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from swift_export import errors
from swift_export.errors import MachineError, SwiftExportError
from swift_export.runtimes.base import AbsentDevice, LoadError, file_label
from swift_export.runtimes.messages import Answer, Failure, Request, read_answer, write_request
from swift_export.runtimes.registry import RUNTIMES

__all__ = ["TIMEOUT_S", "Child", "Worker", "last_line", "run_worker"]

#: Far above what a full-size check needs on two cores: only a runtime that hangs meets it.
TIMEOUT_S = 1800.0

_ERRORS: dict[str, type[SwiftExportError]] = {
    "AbsentDevice": AbsentDevice,
    "LoadError": LoadError,
    **{name: getattr(errors, name) for name in errors.__all__},
}
# How absl, which TensorFlow and XLA log with, begins a line that is not worth a user's attention.
_LOG_LINE = re.compile(r"WARNING: All log messages|[IW]\d{4} |\d{4}-\d\d-\d\d .*: [IW] ")
_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)\b")


class Child:
    """``python -m MODULE FOLDER``; leaving the context ends the process and all that it started, whatever the reason.

    ``what`` is the subject of its error messages. What it prints goes to a file in ``folder``, and so do the temporary
    files of whatever library: nothing is left once the folder is gone.
    """

    def __init__(self, module: str, folder: Path, what: str, environment: Mapping[str, str] | None = None):
        self._what = what
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            # -P: the caller's working directory is no place to import from (it may well hold a folder `onnx`).
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment({"TMPDIR": str(folder), **(environment or {})}),
                # A group of its own, to end it as a whole.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Once it is waited for, its number may be another's.
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
            finally:
                self._signal(signal.SIGKILL)
                self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS answers the latter
            os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        """Of the process, while it lives."""
        return self._process.pid

    def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for its end; raises MachineError when it crashed, was killed, failed or took too long."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MachineError(f"{self._what}: no answer after {timeout_s:.0f} s") from None
        self._signal(signal.SIGKILL)  # what it started and left behind
        if status:
            raise MachineError(f"{self._what}: {self._cause(status)}")

    def _cause(self, status: int) -> str:
        if status == -signal.SIGKILL:
            return "killed, most likely for want of memory; free some, or check fewer clips at once"
        last = last_line(self._output.read_text(errors="replace"))
        if status < 0:
            return f"crashed with {signal.Signals(-status).name}: {last}"
        return f"ended with exit status {status}: {last}"


class Worker(Child):
    """One artifact in one process.

    ``folder`` is an empty folder for request, answer and outputs. ``search`` are folders where the process finds
    packages before its own.
    """

    def __init__(self, request: Request, folder: Path, search: Sequence[Path] = ()):
        self._folder = folder
        write_request(request, folder)
        environment = {"PYTHONPATH": os.pathsep.join(map(str, search))}
        if request.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        what = f"{RUNTIMES[request.runtime].title} on {file_label(Path(request.artifact))}"
        super().__init__("swift_export.runtimes.worker", folder, what, environment)

    def answer(self, timeout_s: float = TIMEOUT_S) -> Answer:
        """Wait for the answer; raises the worker's own error, or MachineError when it gave none."""
        self.wait(timeout_s)
        answer = read_answer(self._folder)
        if isinstance(answer, Failure):
            raise _ERRORS[answer.kind](answer.message)
        return answer


def run_worker(request: Request, folder: Path, search: Sequence[Path] = (), timeout_s: float = TIMEOUT_S) -> Answer:
    """Start a worker, wait for its answer and see it off."""
    with Worker(request, folder, search) as worker:
        return worker.answer(timeout_s)


def _environment(own: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's environment, with this very package on the path and the runtimes told to be quiet and modest."""
    package = Path(errors.__file__).resolve().parent.parent
    paths = [own.get("PYTHONPATH"), str(package), os.environ.get("PYTHONPATH")]
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # ONNX Runtime 1.31 would report its use, and leaves a file in the temporary folder for it.
        "ORT_DISABLE_TELEMETRY": "1",
        # Several runtimes take turns on the GPU: none may keep it all.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **own,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def last_line(text: str) -> str:
    """The line of a process's output that tells most about its end: the last error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    spoken = [line for line in lines if not _LOG_LINE.match(line)]
    telling = [line for line in spoken if _ERROR_LINE.match(line)] or spoken or lines
    return telling[-1][:300] if telling else "it said nothing"
