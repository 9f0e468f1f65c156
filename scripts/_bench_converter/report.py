"""The results of a run as a text table, as JSON and as a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from _bench.tables import aligned, cell, markdown, verdict_table

from _bench_converter.bars import verdicts
from _bench_converter.measuring import Figures, File
from swift_export.system.hardware import processor, versions

__all__ = ["Report"]

_PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "flax",
    "dm-haiku",
    "keras",
    "torch",
    "torchax",
    "onnx",
    "onnxruntime",
    "jax2onnx",
)

#: Header of each column, and its cell.
_COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("jax ms", lambda f: cell(f.jax_s, "{:.1f}", 1e-3)),
    ("ours / jax", lambda f: cell(f.to_jax, "{:.2f}")),
    ("ours / jax2onnx", lambda f: cell(f.to_others, "{:.2f}")),
    ("nodes", lambda f: cell(f.ours.nodes, "{:.0f}")),
    ("portable", lambda f: cell(f.ours.portable_nodes, "{:.0f}")),
    ("jax2onnx", lambda f: cell(f.others.nodes, "{:.0f}")),
    ("s", lambda f: cell(f.ours.conversion_s, "{:.1f}")),
    ("s, jax2onnx", lambda f: cell(f.others.conversion_s, "{:.1f}")),
    ("rel. L2", lambda f: cell(f.ours.error, "{:.0e}")),
    ("rel. L2, jax2onnx", lambda f: cell(f.others.error, "{:.0e}")),
)
_NOTES = (
    "- ours / jax, ours / jax2onnx: our file (target `onnxruntime`) in ONNX Runtime against `jax.jit` of the function, "
    "and against jax2onnx's file in ONNX Runtime. Below 1 is faster. Files that differ from JAX have no ratio.",
    "- nodes: of our file, of the target `portable`, and of jax2onnx's file, bodies and functions included.",
    "- s: from the function to the file, of both tools.",
    "- rel. L2: error against JAX, the largest of all results.",
    "- PyTorch is not in the lock file, because its packages for Linux hold CUDA: gigabytes. If torch 2.12 and torchax "
    "0.0.13 are installed into `.venv-bench`, its networks are measured too. Later versions of torch lack ops that "
    "this torchax names.",
)


@dataclass(frozen=True)
class Report:
    """A run: its networks, and about how many seconds each was measured."""

    rows: Sequence[Figures]
    seconds: float

    @property
    def title(self) -> str:
        """How many networks were measured, on what."""
        return f"{sum(not figures.absent for figures in self.rows)} networks on one thread, {processor()}"

    def text(self) -> str:
        """The table and the limits for a terminal, with the reasons of missing figures."""
        table = [["network", *(head for head, _ in _COLUMNS), ""]]
        table += [[f.network.name, *_cells(f), "; ".join(_reasons(f))] for f in self.rows]
        limits = [[v.what, v.bar, v.measured, v.word.strip("*")] for v in verdicts(self.rows)]
        return "\n".join([*aligned(table), "", *aligned(limits, words=4)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in seconds."""
        return {
            "seconds": self.seconds,
            "processor": processor(),
            "versions": versions(_PACKAGES),
            "networks": [_plain(figures) for figures in self.rows],
            "bars": [vars(verdict) for verdict in verdicts(self.rows)],
        }

    def markdown(self, chart: str | None) -> str:
        """The page, as Markdown."""
        lines = [
            "# Benchmark of the converter",
            "",
            f"Made by `scripts/bench_converter` in one run: {self.title}, with random weights.",
            "Each network has a process of its own, in which JAX and the files run in turn, once per round; "
            f"figures are medians of the rounds of {self.seconds:g} seconds.",
            "",
        ]
        if chart:
            lines += [f"![Time of each network's files, relative to jax.jit]({chart})", ""]
        lines += [*verdict_table(verdicts(self.rows)), ""]
        rows = ([f.network.title, f.network.family, f.network.framework, *_cells(f)] for f in self.rows)
        lines += markdown(["network", "", "framework", *(head for head, _ in _COLUMNS)], rows, 3)
        lines += ["", *_NOTES, ""]
        without = [
            f"- {f.network.title} ({f.network.framework}): {'; '.join(_reasons(f))}" for f in self.rows if _reasons(f)
        ]
        if without:
            lines += ["Not measured, or only in part:", "", *without, ""]
        packages = ", ".join(f"{name} {number}" for name, number in versions(_PACKAGES).items())
        return "\n".join([*lines, f"Versions: {packages}.", ""])


def _cells(figures: Figures) -> list[str]:
    return [text(figures) for _, text in _COLUMNS]


def _reasons(figures: Figures) -> list[str]:
    """Why figures are missing, one text a tool."""
    if figures.reason:
        return [figures.reason]
    out = []
    for tool, file in (("ours", figures.ours), ("jax2onnx", figures.others)):
        if file.reason:
            out.append(f"{tool}: {file.reason if len(file.reason) <= 160 else f'{file.reason[:159]}…'}")
        elif file.error is not None and not figures.agrees(file):
            out.append(f"{tool}: differs from JAX")
    return out


def _plain(figures: Figures) -> dict[str, Any]:
    network = figures.network
    return {
        "name": network.name,
        "title": network.title,
        "family": network.family,
        "framework": network.framework,
        "dtype": network.dtype,
        "reason": figures.reason,
        "jax": _times(figures.jax),
        "ours": _file(figures.ours),
        "jax2onnx": _file(figures.others),
        "ours_to_jax": figures.to_jax,
        "ours_to_jax2onnx": figures.to_others,
    }


def _file(file: File) -> dict[str, Any]:
    return {
        "reason": file.reason,
        **_times(file.seconds),
        "nodes": file.nodes,
        "portable_nodes": file.portable_nodes,
        "conversion_s": file.conversion_s,
        # JSON has no infinity.
        "relative_l2": file.error if file.error is not None and math.isfinite(file.error) else None,
    }


def _times(seconds: list[float]) -> dict[str, Any]:
    if not seconds:
        return {"median_s": None, "best_s": None, "rounds": 0}
    return {"median_s": statistics.median(seconds), "best_s": min(seconds), "rounds": len(seconds)}
