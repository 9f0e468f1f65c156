"""One row in a process of its own: ``python -m _bench.worker SPEC``, SPEC being a `Spec` as JSON.

Reads ``load`` or ``run`` from a line of standard input, answers each with a line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Spec", "main"]


@dataclass(frozen=True)
class Spec:
    """What a worker needs to know.

    ``path`` is what the engine loads, ``clips`` an ``.npy`` file, ``features`` where the first result goes.
    """

    engine: str
    packages: list[str]
    path: str
    clips: str
    features: str
    threads: int


class Server:
    """Answers requests; ``load`` comes before ``run``."""

    def __init__(self, spec: Spec):
        self._spec = spec
        self._call: Callable[[], np.ndarray] | None = None

    def load(self) -> dict[str, float]:
        """Load the file and run it once.

        Seconds to load; bytes that the loaded file holds, that its first inference takes beyond that, and the most
        that the process held.
        """
        from _bench.engines import ENGINES

        clips = np.load(self._spec.clips)
        for package in self._spec.packages:
            importlib.import_module(package)
        start = held("VmRSS")
        begun = time.perf_counter()
        self._call = ENGINES[self._spec.engine](Path(self._spec.path), clips, self._spec.threads)
        seconds = time.perf_counter() - begun
        loading = held("VmHWM")
        # From here on the peak is the inference's, not that of a compiler, and what that one freed is not held.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        loaded = held("VmRSS")
        features = self._call()
        memory = held("VmHWM") - loaded
        np.save(self._spec.features, features)
        # Runtimes that plan their memory do so by the first call; the second is the one that settles.
        self._call()
        peak = max(loading, held("VmHWM"))
        return {"load_s": seconds, "loaded": loaded - start, "memory": memory, "peak": peak}

    def run(self) -> dict[str, float]:
        """One inference."""
        assert self._call is not None, "load comes first"
        begun = time.perf_counter()
        self._call()
        return {"seconds": time.perf_counter() - begun}


def held(what: str) -> int:
    """Bytes of this process by its own account: ``VmRSS`` now, ``VmHWM`` at most."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Serve until standard input ends."""
    spec = Spec(**json.loads(sys.argv[1]))
    # Before any runtime is imported: they count the processors that they may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.threads])
    # Runtimes print: only answers may go to the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(spec)
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            print(json.dumps(_answer(server, line.strip())), file=answers, flush=True)


def _answer(server: Server, request: str) -> dict[str, Any]:
    try:
        return {"load": server.load, "run": server.run}[request]()
    except Exception as error:  # every runtime has its own; the row is reported with it
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


if __name__ == "__main__":
    main()
