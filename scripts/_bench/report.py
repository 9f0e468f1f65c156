"""The results of a run as a text table, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _bench.bars import verdicts
from _bench.measuring import Figures
from _bench.processors import RatioSet, plain, ratio_table, with_set
from _bench.tables import aligned, cell, markdown, verdict_table
from swift_export.system.hardware import processor, vectors, versions

__all__ = ["Report"]

_PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "onnx",
    "onnxruntime",
    "openvino",
    "iree-base-compiler",
    "iree-base-runtime",
    "tensorflow-cpu",
    "jax2onnx",
)


def _timed(figures: Figures, batch: int, text: str, value: str) -> str:
    timing = figures.timings.get(batch)
    return cell(None if timing is None else getattr(timing, value), text)


def _clips_per_second(figures: Figures) -> str:
    timing = figures.timings.get(4)
    return cell(None if timing is None else 4 / timing.median, "{:.2f}")


_NOTES = (
    "- Load: time from the imported runtime to a ready session, including compilation, in a fresh process.",
    "- Loaded: memory of the session, in some runtimes with the clip. Inference: extra peak of the first inference.",
    "  TensorFlow compiles during a first inference and keeps that memory, so its relevant figure is *loaded*.",
    "- Export: the whole command without its check. Files with a fixed batch have no figures for B=4.",
    "- rel. L2: error of the features against the first row, the larger of both batch sizes.",
)

#: Header of each column, and its cell.
_COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("name", lambda f: f.row.name),
    ("median s", lambda f: _timed(f, 1, "{:.3f}", "median")),
    ("best s", lambda f: _timed(f, 1, "{:.3f}", "best")),
    ("ratio", lambda f: _timed(f, 1, "{:.2f}", "ratio")),
    ("clips/s, B=4", _clips_per_second),
    ("ratio, B=4", lambda f: _timed(f, 4, "{:.2f}", "ratio")),
    ("load s", lambda f: cell(f.load_s, "{:.2f}")),
    ("loaded MB", lambda f: cell(f.loaded, "{:.0f}", 1e6)),
    ("inference MB", lambda f: cell(f.memory, "{:.0f}", 1e6)),
    ("export s", lambda f: cell(f.export_s, "{:.1f}")),
    ("file MB", lambda f: cell(f.size, "{:.1f}", 1e6)),
    ("nodes", lambda f: cell(f.nodes, "{:.0f}")),
    ("rel. L2", lambda f: cell(f.error, "{:.1e}")),
)


@dataclass(frozen=True)
class Report:
    """A run: its rows, the conditions of the measurement, and the errors of the golden cases by name."""

    figures: Mapping[str, Figures]
    architecture: str
    clip: Sequence[int]
    threads: int
    rounds: int
    idle: float
    golden: Mapping[str, float]

    @property
    def rows(self) -> list[Figures]:
        """The figures in the order of the table."""
        return list(self.figures.values())

    def text(self) -> str:
        """The table for a terminal, with the reasons of missing figures."""
        table = [[*(head for head, _ in _COLUMNS), "what"]]
        table += [[*self._cells(f), f.row.title if f.status == "measured" else _why(f)] for f in self.rows]
        return "\n".join(aligned(table))

    def _cells(self, figures: Figures) -> list[str]:
        return [text(figures) for _, text in _COLUMNS]

    def sets(self, kept: list[RatioSet]) -> list[RatioSet]:
        """The ratios of this run, and the kept ones of other kinds of processors."""
        ratios = {f.row.name: round(f.timings[1].ratio, 4) for f in self.rows if 1 in f.timings}
        return with_set(kept, RatioSet(vectors() or "other", processor(), ratios))

    def to_dict(self, kept: list[RatioSet]) -> dict[str, Any]:
        """Plain data for JSON, in bytes and seconds."""
        return {
            "architecture": self.architecture,
            "clip": list(self.clip),
            "threads": self.threads,
            "rounds": self.rounds - 1,
            "processor": processor(),
            "versions": versions(_PACKAGES),
            "idle_share_of_a_core": round(self.idle, 3),
            "rows": [_plain(figures) for figures in self.rows],
            "golden_relative_l2": dict(self.golden),
            "bars": [vars(verdict) for verdict in verdicts(self.figures, self.golden)],
            "by_processor": plain(self.sets(kept)),
        }

    def times(self) -> dict[str, Any]:
        """What the command line's messages speak of: median seconds of one clip, and where they were taken."""
        return {
            "architecture": self.architecture,
            "clip": list(self.clip),
            "processor": processor(),
            "threads": self.threads,
            "versions": versions(_PACKAGES),
            "seconds": {f.row.name: f.timings[1].median for f in self.rows if 1 in f.timings},
        }

    def markdown(self, chart: str | None, kept: list[RatioSet]) -> str:
        """The page, as Markdown."""
        shape = ", ".join(map(str, self.clip))
        lines = [
            "# Benchmark",
            "",
            f"Made by `scripts/bench_cpu` in one run: `{self.architecture}`, synthetic weights, one clip "
            f"(1, {shape}) in float32, {self.threads} threads, {processor()}.",
            "Each row is a separate process. After all have loaded, each runs once per round, in turn. "
            f"Figures are medians of {self.rounds - 1} rounds.",
            "Ratios are relative to the first row in the same rounds; below 1 is faster. Waiting rows used at most "
            f"{100 * self.idle:.0f} % of one core.",
            "",
        ]
        if chart:
            lines += [f"![Seconds per clip for each row, and the ratio to jax.jit]({chart})", ""]
        heads = ["row", *(head for head, _ in _COLUMNS)]
        lines += markdown(heads, ([f.row.title, *self._cells(f)] for f in self.rows), 2)
        lines += ["", *_NOTES, ""]
        unmeasured = [figures for figures in self.rows if figures.status != "measured"]
        if unmeasured:
            lines += ["Not measured, or only in part:", "", *(f"- {f.row.title}: {_why(f)}" for f in unmeasured), ""]
        lines += [f"Limits are for a processor with AVX-512; measured on {processor()}.", ""]
        lines += [*verdict_table(verdicts(self.figures, self.golden)), "", *ratio_table(self.sets(kept))]
        packages = ", ".join(f"{name} {number}" for name, number in versions(_PACKAGES).items())
        return "\n".join([*lines, "", f"Versions: {packages}.", ""])


def _why(figures: Figures) -> str:
    return f"{figures.status}: {figures.reason}"


def _plain(figures: Figures) -> dict[str, Any]:
    timings = {
        str(batch): {"median_s": t.median, "best_s": t.best, "ratio": t.ratio, "seconds": t.seconds}
        for batch, t in figures.timings.items()
    }
    return {
        "name": figures.row.name,
        "title": figures.row.title,
        "status": figures.status,
        "reason": figures.reason,
        "batches": timings,
        "load_s": figures.load_s,
        "loaded_bytes": figures.loaded,
        "inference_bytes": figures.memory,
        "export_s": figures.export_s,
        "file_bytes": figures.size,
        "nodes": figures.nodes,
        "relative_l2": figures.error,
    }
