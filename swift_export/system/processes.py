"""Child processes that end with this one, and what becomes of them: an answer or one clear error.

A child is the leader of a process group of its own, and its first member is a watcher: a shell that reads from a pipe
whose other end this process alone holds, its tie. When the tie is cut, by this process or by its end, be it by SIGKILL,
the watcher kills the group and itself with it. It has no number to mistake: the group that it kills is its own. And it
never waits for the child's native code, as a thread of the child would that needs Python's lock.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from swift_export import errors
from swift_export.errors import MachineError
from swift_export.system.signals import signals_deferred

__all__ = ["TIMEOUT_S", "Child", "ModuleProcess", "last_line"]

#: Far above what a full-size check needs on two cores: only a process that hangs meets it.
TIMEOUT_S = 1800.0

# The shell starts the watcher, with the pipe's descriptor as $1, and becomes the command.
_TIED = """
{ trap '' HUP INT TERM; read -r _; kill -s KILL 0; } <"/dev/fd/$1" >/dev/null 2>&1 &
shift
exec "$@"
"""

# How absl, which TensorFlow and XLA log with, begins a line that is not worth a user's attention.
_LOG_LINE = re.compile(r"WARNING: All log messages|[IW]\d{4} |\d{4}-\d\d-\d\d .*: [IW] ")
_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)\b")


class ModuleProcess:
    """``python -m MODULE ARGUMENT...`` by this Python, with ``environment`` and the options of `subprocess.Popen`.

    The process and all that it started end with the context, whatever the reason, and at the latest with this process.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str], **options: Any) -> None:
        # -P: the caller's working directory is no place to import from (it may well hold a folder `onnx`).
        command = [sys.executable, "-P", "-m", module, *arguments]
        read, write = os.pipe()
        self._tie = open(write, "wb", buffering=0)  # noqa: SIM115 - it lives as long as the process
        try:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", _TIED, "swift-export", str(read), *command],
                pass_fds=[read],
                start_new_session=True,
                env=_environment(environment),
                **options,
            )
        except BaseException:  # an interrupt, too
            self._tie.close()
            raise
        finally:
            os.close(read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process, while it lives."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has come to its end."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End the process and all that it started, now; all their files lie in folders that go with them."""
        with signals_deferred():
            # At once, as far as the process was not waited for: afterwards its number may be another's.
            if self.process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS answers the latter
                    os.killpg(self.process.pid, signal.SIGKILL)
            self._tie.close()
        with self.process:
            pass  # waits for it and closes its streams


class Child(ModuleProcess):
    """``python -m MODULE FOLDER``, which does one job in a folder.

    ``what`` is the subject of its error messages. What it prints goes to a file in ``folder``, and so do the temporary
    files of whatever library: nothing is left once the folder is gone.
    """

    def __init__(self, module: str, folder: Path, what: str, environment: Mapping[str, str] | None = None):
        self._what = what
        self._output = folder / "output.txt"
        self._started = time.monotonic()
        with self._output.open("wb") as output:
            super().__init__(
                module,
                str(folder),
                environment={"TMPDIR": str(folder), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def age_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for its end; raises MachineError when it crashed, was killed, failed or lasted longer than that."""
        try:
            status = self.process.wait(max(0.0, timeout_s - self.age_s))
        except subprocess.TimeoutExpired:
            raise MachineError(f"{self._what}: no answer after {timeout_s:.0f} s") from None
        self.end()  # with what it started and left behind
        if status:
            raise MachineError(f"{self._what}: {self._cause(status)}")

    def _cause(self, status: int) -> str:
        if status == -signal.SIGKILL:
            return "killed, most likely for want of memory; free some, or check fewer clips at once"
        last = last_line(self._output.read_text(errors="replace"))
        if status < 0:
            return f"crashed with {signal.Signals(-status).name}: {last}"
        return f"ended with exit status {status}: {last}"


def _environment(own: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's environment, with this very package on the path and libraries told to be quiet and modest."""
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
