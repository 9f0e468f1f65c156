"""Child processes that end with this one, and whose outcome is an answer or one clear error.

A child leads its own process group. The first member of the group is a watcher: a shell that reads from a pipe. Only
this process holds the other end of the pipe, the tie. When the tie closes, because this process closes it or ends in
any way, SIGKILL included, the watcher kills the group and itself. It cannot hit a wrong process, because it kills its
own group. Unlike a thread in the child, it never waits for native code that holds Python's lock.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from swift_export import errors
from swift_export.errors import MachineError
from swift_export.system.signals import signals_deferred

__all__ = ["TIMEOUT_S", "WITHOUT_GPU", "Child", "ModuleProcess", "last_line"]

#: Far above the time of a full-size check on two cores, so that only a hung process reaches it.
TIMEOUT_S = 1800.0

#: The environment of a process that must not take memory on a GPU.
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": ""}

# The shell starts the watcher, with the descriptor of the pipe as $1, and then becomes the command.
_TIED = """
{ trap '' HUP INT TERM; read -r _; kill -s KILL 0; } <"/dev/fd/$1" >/dev/null 2>&1 &
shift
exec "$@"
"""

# The beginning of uninteresting lines from absl, the logger of TensorFlow and XLA.
_LOG_LINE = re.compile(r"WARNING: All log messages|[IW]\d{4} |\d{4}-\d\d-\d\d .*: [IW] ")
_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)\b")


class ModuleProcess:
    """``python -m MODULE ARGUMENT...`` with this Python, ``environment`` and the options of `subprocess.Popen`.

    The process and its descendants end when the context is left for any reason, and at the latest with this process.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str], **options: Any) -> None:
        complete = _environment(environment)
        command = _command(module, arguments, complete)
        read, write = os.pipe()
        self._tie = open(write, "wb", buffering=0)  # noqa: SIM115 - open as long as the process lives
        try:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", _TIED, "swift-export", str(read), *command],
                pass_fds=[read],
                start_new_session=True,
                env=complete,
                **options,
            )
        except BaseException:  # including interrupts
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
        """Number of the process while it lives."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Kill the process and its descendants now; their files are in folders that are removed with them."""
        with signals_deferred():
            # Kill only before the process is reaped: afterwards another process may have its number.
            if self.process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):  # the group is empty; macOS raises the latter
                    os.killpg(self.process.pid, signal.SIGKILL)
            self._tie.close()
        with self.process:
            pass  # waits for the process and closes its streams


class Child(ModuleProcess):
    """``python -m MODULE FOLDER``, a process that does one job in a folder.

    ``what`` is the subject of its error messages. Its output and the temporary files of all libraries go to ``folder``,
    so that nothing remains once the folder is removed. ``streams`` replace its streams.
    """

    def __init__(
        self, module: str, folder: Path, what: str, environment: Mapping[str, str] | None = None, **streams: Any
    ):
        self.what = what
        self._output = folder / "output.txt"
        self._started = time.monotonic()
        with self._output.open("wb") as output:
            super().__init__(
                module,
                str(folder),
                environment={"TMPDIR": str(folder), **(environment or {})},
                **{"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **streams},
            )

    @property
    def age_s(self) -> float:
        """Seconds since the start of the process."""
        return time.monotonic() - self._started

    def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for the process; raises MachineError if it crashed, was killed, failed or exceeded the timeout."""
        try:
            status = _status(self.process, max(0.0, timeout_s - self.age_s))
        except subprocess.TimeoutExpired:
            raise MachineError(f"{self.what}: no answer after {timeout_s:.0f} s") from None
        self.end()  # including processes that it left behind
        if status:
            raise MachineError(f"{self.what}: {self._cause(status)}")

    def _cause(self, status: int) -> str:
        if status == -signal.SIGKILL:
            return "killed, probably because memory ran out; free some memory, or check fewer inputs at once"
        last = last_line(self._output.read_text(errors="replace"))
        if status < 0:
            return f"crashed with {signal.Signals(-status).name}: {last}"
        return f"ended with exit status {status}: {last}"


def _status(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """The exit status, as soon as there is one; raises TimeoutExpired.

    With a timeout, `subprocess.Popen.wait` looks only 20 times per second, and a check starts dozens of processes.
    """
    if sys.platform == "linux" and process.poll() is None:
        with suppress(OSError):  # Linux before 5.3
            number = os.pidfd_open(process.pid)
            try:
                ended = select.poll()
                ended.register(number, select.POLLIN)
                if not ended.poll(1000 * timeout_s):
                    raise subprocess.TimeoutExpired(process.args, timeout_s)
                return process.wait()
            finally:
                os.close(number)
    return process.wait(timeout_s)


def _command(module: str, arguments: Sequence[str], _: Mapping[str, str]) -> list[str]:
    # -P: do not import from the working directory of the caller, which may contain a folder `onnx`.
    return [sys.executable, "-P", "-m", module, *arguments]


def _environment(own: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of the caller, with this package on the path; libraries are quiet and share the GPU."""
    package = Path(errors.__file__).resolve().parent.parent
    paths = [own.get("PYTHONPATH"), str(package), os.environ.get("PYTHONPATH")]
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # ONNX Runtime 1.31 sends telemetry, for which it leaves a file in the temporary folder.
        "ORT_DISABLE_TELEMETRY": "1",
        # Several runtimes share the GPU, so none may reserve all its memory.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **own,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def last_line(text: str) -> str:
    """The most informative line in the output of a failed process: the last error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    relevant = [line for line in lines if not _LOG_LINE.match(line)]
    candidates = [line for line in relevant if _ERROR_LINE.match(line)] or relevant or lines
    return candidates[-1][:300] if candidates else "it printed nothing"
