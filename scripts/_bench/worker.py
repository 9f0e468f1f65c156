"""One row in a separate process: ``python -m _bench.worker SPEC``, where SPEC is a `Spec` as JSON.

It reads requests, ``load`` or ``run``, from lines of standard input and answers each with a line of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swift_export.system.process_figures import peak_bytes, resident_bytes
from swift_export.system.rounds import timed

__all__ = ["Spec", "main", "serve"]


@dataclass(frozen=True)
class Spec:
    """The task of a worker.

    The engine loads ``path``. ``clips`` is an ``.npy`` file; ``features`` is the output file for the first result.
    """

    engine: str
    packages: list[str]
    path: str
    clips: str
    features: str
    threads: int
    module: ClassVar[str] = "_bench.worker"


class Server:
    """Answers requests; ``load`` must precede ``run``."""

    def __init__(self, spec: Spec):
        self._spec = spec
        self._call: Callable[[], np.ndarray] | None = None

    def load(self) -> dict[str, float]:
        """Load the file and run it once.

        Returns the load time in seconds, and in bytes the memory of the loaded file, the further memory of its first
        inference, and the peak of the process.
        """
        from _bench.engines import ENGINES

        clips = np.load(self._spec.clips)
        for package in self._spec.packages:
            importlib.import_module(package)
        start = resident_bytes()
        begun = time.perf_counter()
        self._call = ENGINES[self._spec.engine](Path(self._spec.path), clips, self._spec.threads)
        seconds = time.perf_counter() - begun
        loading = peak_bytes()
        # Reset the peak and return freed memory, so that the compiler does not count as inference.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        loaded = resident_bytes()
        features = self._call()
        memory = peak_bytes() - loaded
        np.save(self._spec.features, features)
        # Runtimes plan their memory during the first call, so only the second call shows the steady state.
        self._call()
        peak = max(loading, peak_bytes())
        return {"load_s": seconds, "loaded": loaded - start, "memory": memory, "peak": peak}

    def run(self) -> dict[str, float]:
        """One inference."""
        assert self._call is not None, "load comes first"
        (seconds,) = timed(self._call)
        return {"seconds": seconds}


def main() -> None:
    """Serve until standard input ends."""
    spec = Spec(**json.loads(sys.argv[1]))
    server = Server(spec)
    serve(spec.threads, {"load": server.load, "run": server.run})


def serve(threads: int, requests: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
    """Answer requests on ``threads`` processors until standard input ends; no runtime is imported yet."""
    # Runtimes count the allowed processors when they are imported.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    # Runtimes print to standard output, but only answers may go to the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            print(json.dumps(_answer(requests[line.strip()])), file=answers, flush=True)


def _answer(respond: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return respond()
    except Exception as error:  # exception types differ by runtime; the report of the row shows it
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


if __name__ == "__main__":
    main()
