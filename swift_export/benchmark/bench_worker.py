"""One artifact in one runtime at one size, in a process: ``python -m swift_export.benchmark.bench_worker FOLDER``.

The folder contains the request, with one run. The process answers one line after another: ``load`` first, then any
number of turns, and ``memory`` at last. An answer may be a failure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swift_export.errors import SwiftExportError
from swift_export.runtimes.base import Arrays, Computation, Remote, Session
from swift_export.runtimes.messages import Failure, Request, read_request
from swift_export.runtimes.worker import failing_call, open_session, run_inputs, write_outputs
from swift_export.system.conversations import answer_lines
from swift_export.system.process_figures import peak_bytes
from swift_export.system.rounds import timed

__all__ = ["FAILURE", "main"]

#: The key of an answer that is a failure.
FAILURE = "failure"
#: Calls before the first turn: runtimes compile in the first one, and plan their memory in the second.
_WARM_UPS = 2


@dataclass(eq=False)
class _Loaded:
    """A session with the inputs in the runtime's memory."""

    session: Session
    inputs: Arrays
    compute: Computation


class _Bench:
    """The answers to requests."""

    def __init__(self, request: Request, folder: Path):
        self._request = request
        self._folder = folder
        self._path = Path(request.artifact)
        self._loaded: _Loaded | None = None

    def respond(self, asked: Mapping[str, Any]) -> Any:
        """The answer to a request: the name of a method, and its arguments."""
        methods: dict[str, Callable[..., Any]] = {"load": self.load, "turn": self.turn, "memory": self.memory}
        arguments = dict(asked)
        try:
            return methods[arguments.pop("do")](**arguments)
        except SwiftExportError as error:
            return {FAILURE: asdict(Failure(type(error).__name__, str(error)))}

    def load(self) -> dict[str, Any]:
        """Load the artifact, write its outputs, and compute until nothing is left to compile or to plan."""
        (run,) = self._request.runs
        session, load_s = open_session(self._request)
        inputs = run_inputs(run)
        with failing_call(session, inputs, self._path):
            start = time.perf_counter()
            outputs = session(inputs)
            first_s = time.perf_counter() - start
            compute = session.place(inputs)
            for _ in range(_WARM_UPS):
                compute()
        self._loaded = _Loaded(session, inputs, compute)
        files = write_outputs(outputs, self._folder / "outputs", self._path)
        return {"info": asdict(session.info), "load_s": load_s, "first_s": first_s, "outputs": files}

    def turn(self, seconds: float, copies: bool) -> dict[str, list[float]]:
        """Seconds of one call, or of all that fit into ``seconds``; with ``copies``, also from arrays to arrays."""
        assert self._loaded is not None, "load comes first"
        session, inputs = self._loaded.session, self._loaded.inputs
        with failing_call(session, inputs, self._path):
            compute_s = timed(self._loaded.compute, 1, seconds)
            call_s = timed(lambda: session(inputs), 1, seconds) if copies else []
        return {"compute_s": compute_s, "call_s": call_s}

    def memory(self) -> dict[str, int]:
        """The peak memory of the process that computes."""
        session = None if self._loaded is None else self._loaded.session
        return {"peak_bytes": peak_bytes(session.pid if isinstance(session, Remote) else None)}


def main(folder: Path) -> None:
    """Answer until stdin ends."""
    answer_lines(_Bench(read_request(folder), folder).respond)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
