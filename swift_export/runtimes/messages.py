"""The messages between a check and the process that runs an artifact.

Only the standard library is imported, so that the worker's process contains little more than its runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swift_export.runtimes.base import RuntimeInfo
from swift_export.system import exchange

__all__ = [
    "Answer",
    "Failure",
    "Request",
    "Run",
    "RunResult",
    "read_answer",
    "read_request",
    "write_answer",
    "write_request",
]


@dataclass(frozen=True)
class Run:
    """One call: for each input by name, files of `save_array` whose arrays are concatenated along the first axis.

    A single file is used unchanged. ``repeat`` further calls are timed, then as many without copies of inputs and
    outputs, if ``compute`` is set. Only the outputs ``keep`` are written, by default all.
    """

    inputs: Mapping[str, tuple[str, ...]]
    repeat: int = 0
    compute: bool = True
    keep: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Request:
    """Load ``artifact`` once, to compute in ``precision``, and do all ``runs``; ``threads`` limits its processors."""

    runtime: str
    artifact: str
    device: str
    runs: tuple[Run, ...]
    precision: str = "float32"
    threads: int | None = None


@dataclass(frozen=True)
class RunResult:
    """Outputs of a run, files of `save_array` by name, and its times in seconds.

    ``first_s`` includes compilation and allocation for a new shape. Repeated, warm calls follow: ``call_s`` from arrays
    to arrays, ``compute_s`` with the input already on the device.
    """

    outputs: Mapping[str, str]
    first_s: float
    call_s: tuple[float, ...]
    compute_s: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """The results of a worker; ``peak_bytes`` is its peak resident memory."""

    info: RuntimeInfo
    load_s: float
    runs: tuple[RunResult, ...]
    peak_bytes: int


@dataclass(frozen=True)
class Failure:
    """An error of the project's family as class name and message."""

    kind: str
    message: str


def write_request(request: Request, folder: Path) -> None:
    """Put the request into the worker's folder."""
    exchange.write_request(folder, asdict(request))


def read_request(folder: Path) -> Request:
    """The request in a worker's folder."""
    fields = exchange.read_request(folder)
    runs = fields.pop("runs")
    return Request(**fields, runs=tuple(_run(**run) for run in runs))


def _run(inputs: Mapping[str, Sequence[str]], keep: Sequence[str] | None, **fields: Any) -> Run:
    files = {name: tuple(files) for name, files in inputs.items()}
    return Run(files, keep=None if keep is None else tuple(keep), **fields)


def write_answer(answer: Answer | Failure, folder: Path) -> None:
    """Put the answer beside the request."""
    exchange.write_answer(folder, {type(answer).__name__: asdict(answer)})


def read_answer(folder: Path) -> Answer | Failure:
    """The answer in a worker's folder."""
    ((kind, fields),) = exchange.read_answer(folder).items()
    if kind == Failure.__name__:
        return Failure(**fields)
    info = fields.pop("info")
    info["providers"] = tuple(info["providers"])
    runs = tuple(
        RunResult(run["outputs"], run["first_s"], tuple(run["call_s"]), tuple(run["compute_s"]))
        for run in fields.pop("runs")
    )
    return Answer(RuntimeInfo(**info), runs=runs, **fields)
