"""Child processes that answer one line after another, so that several of them can work in turn."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from swift_export.errors import MachineError
from swift_export.system.processes import TIMEOUT_S, Child

__all__ = ["Conversation", "answer_lines"]

_PIECE = 1 << 16


class Conversation(Child):
    """A child that answers requests by `answer_lines`; what it prints goes to its folder."""

    def __init__(self, module: str, folder: Path, what: str, environment: Mapping[str, str] | None = None):
        pipe = subprocess.PIPE
        super().__init__(module, folder, what, environment, stdin=pipe, stdout=pipe, bufsize=0)

    def ask(self, request: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """Send plain data and return the answer; raises MachineError if the process ends, or is silent and ended."""
        stdin = self.process.stdin
        assert stdin is not None
        if stdin.closed:
            raise MachineError(f"{self.what}: has ended")
        with suppress(BrokenPipeError):  # it has ended, and will not answer
            stdin.write(json.dumps(request).encode() + b"\n")
        line = self._line(timeout_s)
        if not line.endswith(b"\n"):
            self.wait()
            raise MachineError(f"{self.what}: ended without an answer")
        return json.loads(line)

    def _line(self, timeout_s: float) -> bytes:
        assert self.process.stdout is not None
        number = self.process.stdout.fileno()
        ready = select.poll()
        ready.register(number, select.POLLIN)
        line, end = b"", time.monotonic() + timeout_s
        while not line.endswith(b"\n"):
            if not ready.poll(1000 * max(0.0, end - time.monotonic())):
                self.end()  # its late answer must not be taken for that of another request
                raise MachineError(f"{self.what}: no answer after {timeout_s:.0f} s")
            piece = os.read(number, _PIECE)
            if not piece:
                break
            line += piece
        return line


def answer_lines(respond: Callable[[Any], Any]) -> None:
    """Answer each line of plain data on stdin by one on stdout, until stdin ends."""
    # Libraries print to stdout, too; their lines must not be mistaken for answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answers.write(json.dumps(respond(json.loads(line))) + "\n")
            answers.flush()
