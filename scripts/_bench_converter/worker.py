"""One network in a process: ``python -m _bench_converter.worker TASK``, where TASK is a `Task` as JSON.

Requests: ``jax2onnx`` makes its file, ``convert`` makes ours, ``measure`` runs JAX and the files that are there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from _bench.worker import serve

from _bench_converter.rows import NETWORKS
from swift_export.system.rounds import take_turns, timed

if TYPE_CHECKING:
    from _bench_converter.networks.case import Case

__all__ = ["OTHERS", "OURS", "Server", "Task", "main"]

#: Files that are measured, ours first.
OURS, OTHERS = "onnxruntime", "jax2onnx"
WARM_UPS = 2
LEAST_ROUNDS = 5

Call = Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Task:
    """A network, a folder for its files, and the time that its measured rounds may take."""

    network: str
    folder: str
    seconds: float
    threads: int = 1
    module: ClassVar[str] = "_bench_converter.worker"


class Server:
    """The answers to the requests, about the case that ``make`` gives."""

    def __init__(self, make: Callable[[], Case], folder: Path, seconds: float, threads: int):
        self._make = make
        self._folder = folder
        self._seconds = seconds
        self._threads = threads

    @cached_property
    def _case(self) -> Case:
        return self._make()

    def jax2onnx(self) -> dict[str, Any]:
        """Seconds and nodes of jax2onnx's file, made at its best settings."""
        import jax
        import onnx
        from jax2onnx import to_onnx

        inputs = [jax.ShapeDtypeStruct(argument.shape, argument.dtype) for argument in self._case.arguments]
        begun = time.perf_counter()
        model = to_onnx(self._case.function, inputs, normalization_mode="prefer_native")
        onnx.save(model, self._path(OTHERS))
        return {"seconds": time.perf_counter() - begun, "nodes": self._nodes(OTHERS)}

    def convert(self) -> dict[str, Any]:
        """Seconds from the function to our file, and nodes of the files of both targets."""
        import jax
        from jax import export

        from swift_export import convert

        inputs = [jax.ShapeDtypeStruct(argument.shape, argument.dtype) for argument in self._case.arguments]
        source = self._folder / "model.jax"
        begun = time.perf_counter()
        source.write_bytes(export.export(jax.jit(self._case.function))(*inputs).serialize())
        convert(source, self._path(OURS), target=OURS)
        seconds = time.perf_counter() - begun
        convert(source, self._path("portable"), target="portable")
        return {"seconds": seconds, "nodes": self._nodes(OURS), "portable_nodes": self._nodes("portable")}

    def measure(self) -> dict[str, Any]:
        """Seconds of JAX and of each file by round, and each file's relative L2 or the reason that there is none."""
        calls = {"jax": self._jax()}
        wanted = calls["jax"]()
        errors, reasons = {}, {}
        for name in (OURS, OTHERS):
            if self._path(name).exists():
                try:
                    calls[name] = self._session(name)
                    errors[name] = _error(calls[name](), wanted)
                except Exception as error:  # the runtime's own types
                    calls.pop(name, None)
                    reasons[name] = " ".join(str(error).replace(f"{self._folder}/", "").split())[:300]
        return {"seconds": _rounds(calls, self._seconds), "errors": errors, "reasons": reasons}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.onnx"

    def _nodes(self, name: str) -> int:
        from _bench.exporting import count_nodes

        return count_nodes(self._path(name))

    def _jax(self) -> Call:
        import jax

        function = jax.jit(self._case.function)
        arguments = jax.device_put(self._case.arguments)
        return lambda: [np.asarray(leaf) for leaf in jax.tree.leaves(function(*arguments))]

    def _session(self, name: str) -> Call:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        session = ort.InferenceSession(self._path(name), options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        arguments = dict(zip(names, self._case.arguments, strict=True))
        return lambda: [np.asarray(result) for result in session.run(None, arguments)]


def _error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest relative L2 of all results; infinite if their number or a shape differs."""
    from _bench.measuring import relative_l2

    if len(found) != len(wanted):
        return float("inf")
    return max(relative_l2(*pair) for pair in zip(found, wanted, strict=True))


def _rounds(calls: dict[str, Call], limit: float) -> dict[str, list[float]]:
    """Seconds of each call; in a round each runs once."""
    turns = {name: partial(timed, call) for name, call in calls.items()}
    return take_turns(turns, least=LEAST_ROUNDS, seconds=limit, ignored=WARM_UPS)


def main() -> None:
    """Serve until standard input ends."""
    task = Task(**json.loads(sys.argv[1]))
    (network,) = (network for network in NETWORKS if network.name == task.network)
    server = Server(network.make, Path(task.folder), task.seconds, task.threads)
    serve(task.threads, {"jax2onnx": server.jax2onnx, "convert": server.convert, "measure": server.measure})


if __name__ == "__main__":
    main()
