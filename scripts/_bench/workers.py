"""Worker processes as the measuring process sees them: started one by one, then asked in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from swift_export.system.process_figures import cpu_seconds

__all__ = ["Broken", "Task", "Worker", "environment"]

SCRIPTS = Path(__file__).resolve().parent.parent


class Broken(Exception):  # noqa: N818 - the outcome of a row, not an error of the bench
    """A file that could not be made, loaded or run; the message is one line."""


class Task(Protocol):
    """A dataclass, the argument of ``python -m MODULE``, which answers requests."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    module: ClassVar[str]

    @property
    def threads(self) -> int: ...


def environment(threads: int) -> dict[str, str]:
    """The environment of the caller, plus the scripts and the package on the path, one device and quiet runtimes."""
    # A package that the caller names comes before the one of this repository.
    paths = [str(SCRIPTS), os.environ.get("PYTHONPATH", ""), str(SCRIPTS.parent)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "ORT_DISABLE_TELEMETRY": "1",
    }


class Worker:
    """The process of a row, ended on leaving the context. The output of its runtime goes to ``log``."""

    def __init__(self, task: Task, log: Path):
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", task.module, json.dumps(asdict(task))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(task.threads),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request and return its answer; raises Broken with the reason from the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Broken(self._last_words()) from None
        line = self._process.stdout.readline()
        if not line:
            raise Broken(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Broken(answer["error"])
        return answer

    def cpu_seconds(self) -> float:
        """Processor time of all threads of the process so far."""
        return cpu_seconds(self._process.pid)

    def _last_words(self) -> str:
        status = self._process.wait()
        said = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"its process ended with status {status}: {said[-1][:300] if said else 'no message'}"
