"""Runs the processes of a network and collects its figures."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _bench.rows import absent
from _bench.workers import Broken, Worker

from _bench_converter.rows import FRAMEWORKS, Network
from _bench_converter.worker import OTHERS, OURS, Task

__all__ = ["Figures", "File", "collect", "measure"]


@dataclass
class File:
    """Figures of one tool's file; ``reason`` explains missing ones."""

    seconds: list[float] = field(default_factory=list)
    nodes: int | None = None
    portable_nodes: int | None = None
    conversion_s: float | None = None
    error: float | None = None
    reason: str = ""


@dataclass
class Figures:
    """Results of a network; ``reason`` explains why there are none, ``absent`` is a package of it that is missing."""

    network: Network
    jax: list[float] = field(default_factory=list)
    ours: File = field(default_factory=File)
    others: File = field(default_factory=File)
    reason: str = ""
    absent: str = ""

    @property
    def failed(self) -> bool:
        """Whether this network fails the run: it could be measured, but our file is missing or wrong."""
        return not self.absent and not self.agrees(self.ours)

    def agrees(self, file: File) -> bool:
        """Whether a file gives JAX's results."""
        return file.error is not None and file.error <= self.network.tolerance

    @property
    def jax_s(self) -> float | None:
        """Median seconds of ``jax.jit``."""
        return statistics.median(self.jax) if self.jax else None

    @property
    def to_jax(self) -> float | None:
        """Our time over JAX's, from the same rounds; only of right files, as below."""
        return _ratio(self.ours.seconds, self.jax) if self.agrees(self.ours) else None

    @property
    def others_to_jax(self) -> float | None:
        """The time of jax2onnx's file over JAX's."""
        return _ratio(self.others.seconds, self.jax) if self.agrees(self.others) else None

    @property
    def to_others(self) -> float | None:
        """Our time over that of jax2onnx's file."""
        both = self.agrees(self.ours) and self.agrees(self.others)
        return _ratio(self.ours.seconds, self.others.seconds) if both else None


def _ratio(seconds: list[float], reference: list[float]) -> float | None:
    return statistics.median(seconds) / statistics.median(reference) if seconds and reference else None


def measure(network: Network, folder: Path, seconds: float, on_progress: Callable[[str], None]) -> Figures:
    """Convert a network with both tools, and time the files and JAX for about ``seconds``."""
    figures = Figures(network)
    if package := absent(FRAMEWORKS[network.framework]):
        figures.absent, figures.reason = package, f"not installed: {package}"
        return figures
    folder.mkdir()
    task, log = Task(network.name, str(folder), seconds), folder / "log"
    if absent(["jax2onnx"]):
        figures.others.reason = "not installed: jax2onnx"
    else:
        # In a process of its own: it changes the frameworks while it traces.
        on_progress("jax2onnx")
        with Worker(task, log) as worker:
            _convert(figures.others, worker, "jax2onnx")
    with Worker(task, log) as worker:
        on_progress("converting")
        _convert(figures.ours, worker, "convert")
        on_progress("measuring")
        try:
            answer = worker.ask("measure")
        except Broken as broken:
            figures.reason = str(broken)
        else:
            collect(figures, answer)
    shutil.rmtree(folder)
    return figures


def _convert(file: File, worker: Worker, request: str) -> None:
    try:
        answer = worker.ask(request)
    except Broken as broken:
        # A page names no folder of the machine that made it.
        file.reason = str(broken).replace(f"{sys.prefix}/", "")
    else:
        file.conversion_s, file.nodes = answer["seconds"], answer["nodes"]
        file.portable_nodes = answer.get("portable_nodes")


def collect(figures: Figures, answer: dict[str, Any]) -> None:
    """Take over what a worker measured."""
    figures.jax = answer["seconds"]["jax"]
    for name, file in ((OURS, figures.ours), (OTHERS, figures.others)):
        file.seconds = answer["seconds"].get(name, [])
        file.error = answer["errors"].get(name)
        file.reason = answer["reasons"].get(name, file.reason)
