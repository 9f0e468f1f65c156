"""What `scripts/bench_serve` measured: as text, as JSON, as a page and as a chart."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _bench.chart import COLOURS, SETTINGS
from _bench.tables import aligned, markdown
from _serving_processes import SATURATING

from swift_export.system.hardware import processor, versions

__all__ = ["CLIPS", "LOADS", "OURS", "ROUNDS", "Report", "Server", "draw"]

#: Rates of arrivals, in clips that the session alone computes in that time.
LOADS = (0.2, 0.5, 0.8, 0.95, 1.1)
PERCENTILES = (50, 90, 99)
#: Rounds in which all servers are saturated in turn, and the clips of each.
ROUNDS, CLIPS = 5, 12
#: Throughput at saturation over that of the session alone: the limit of the embedded server.
LIMIT = 0.95
#: Colours of the embedded server, by instances.
OURS = (COLOURS["ours"], "#7fb7cc")
_PACKAGES = ("onnxruntime", "fastapi", "uvicorn", "httptools", "numpy")


@dataclass
class Server:
    """A server and how to send it a clip; what was measured of it.

    Attributes:
        own: whether it is the embedded one.
        saturated_s: seconds for `CLIPS` clips at saturation, of each round.
        ratios: those of the session alone in the same round over them.
        latencies: seconds of each request, by load.

    """

    name: str
    title: str
    colour: str
    send: Callable[[np.ndarray], bytes]
    own: bool = False
    saturated_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    latencies: dict[float, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Throughput at saturation over that of the session alone in the same round."""
        return median(self.ratios)

    def percentiles(self, load: float) -> list[float]:
        """Seconds, in the order of `PERCENTILES`."""
        return [float(value) for value in np.percentile(self.latencies[load], PERCENTILES)]


@dataclass
class Report:
    """A run: the session's seconds for a clip, the bytes of a clip, requests at each rate, and the servers."""

    model: str
    direct_s: float
    clip_bytes: int
    requests: int
    servers: Sequence[Server]

    @property
    def title(self) -> str:
        """What was measured, on what."""
        return f"{self.model}, clips of {self.clip_bytes / 1e6:.1f} MB, {_cores()} cores, {processor()}"

    def saturation(self) -> list[list[str]]:
        """Rows of throughput: server, clips a second, ratio."""
        alone = [["the session alone", f"{1 / self.direct_s:.2f}", "1.00"]]
        return alone + [[s.title, f"{CLIPS / median(s.saturated_s):.2f}", f"{s.ratio:.2f}"] for s in self.servers]

    def latency(self) -> list[list[str]]:
        """Rows of latency: server, rate over the session's, requests a second, percentiles."""
        return [
            [s.title, f"{load:g}", f"{load / self.direct_s:.2f}", *(f"{value:.3f}" for value in s.percentiles(load))]
            for load in LOADS
            for s in self.servers
        ]

    def verdict(self) -> str:
        """Whether the embedded server meets its limit."""
        best = max((server for server in self.servers if server.own), key=lambda server: server.ratio)
        word = "met" if best.ratio >= LIMIT else "not met"
        return f"{best.title}, throughput at saturation / the session alone: limit >= {LIMIT}, {word}"

    def text(self) -> str:
        """The tables for a terminal."""
        heads = [["server", "clips/s", "ratio"], ["server", "load", "requests/s", *_heads()]]
        tables = [aligned([head, *rows]) for head, rows in zip(heads, (self.saturation(), self.latency()), strict=True)]
        return "\n".join([self.title, "", *tables[0], "", *tables[1], "", self.verdict()])

    def markdown(self, chart: str | None) -> str:
        """The page, as Markdown."""
        lines = [
            "# Benchmark of serving",
            "",
            f"Made by `scripts/bench_serve` in one run: {self.title}. Clients and servers share the machine. Clips are "
            "sent as bytes over HTTP. `swift-export serve` has its defaults, but for what its name says and a queue "
            "for all requests. The plain FastAPI runs the same session in uvicorn's threads. Triton has the "
            "configuration of `swift-export layout triton`; its Python backend runs the file in ONNX Runtime "
            "with that one's defaults.",
            "",
            *([f"![Latency of each server against the rate of requests]({chart})", ""] if chart else []),
            f"Throughput at saturation: {SATURATING} clients send without pause, medians of {ROUNDS} rounds with the "
            "session alone in each; ratio is that to the session alone.",
            "",
            *markdown(["server", "clips/s", "ratio"], self.saturation(), 1),
            "",
            f"{self.verdict()}.",
            "",
            "Latency in seconds from arrival to answer, percentiles. Requests arrive at random, the same for all "
            f"servers, {self.requests} at each rate, so that the 99th percentile is close to the slowest of them. Load "
            "is the rate over what the session alone computes. At a load above a server's ratio, requests queue up, "
            "and latency grows with their number.",
            "",
            *markdown(["server", "load", "requests/s", *_heads()], self.latency(), 1),
            "",
            f"Versions: {', '.join(f'{name} {number}' for name, number in versions(_PACKAGES).items())}.",
            "",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in seconds and bytes."""
        return {
            "processor": processor(),
            "cores": _cores(),
            "model": self.model,
            "clip_bytes": self.clip_bytes,
            "requests": self.requests,
            "session_alone_s": self.direct_s,
            "versions": versions(_PACKAGES),
            "servers": [
                {
                    "name": s.name,
                    "title": s.title,
                    "clips_per_s": CLIPS / median(s.saturated_s),
                    "throughput_to_alone": s.ratio,
                    "rounds": s.ratios,
                    "loads": [
                        {
                            "load": load,
                            "requests_per_s": load / self.direct_s,
                            **{f"p{p}_s": value for p, value in zip(PERCENTILES, s.percentiles(load), strict=True)},
                            "seconds": s.latencies[load],
                        }
                        for load in LOADS
                    ],
                }
                for s in self.servers
            ],
        }


def draw(report: Report, path: Path) -> None:
    """Draw each percentile against the load, a line for each server. The suffix of ``path`` sets the format."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    with mpl.rc_context(SETTINGS):
        figure, panels = pyplot.subplots(1, len(PERCENTILES), figsize=(10, 4.4), sharey=True, layout="constrained")
        for place, (axes, percentile) in enumerate(zip(panels, PERCENTILES, strict=True)):
            for server, marker in zip(report.servers, "os^D", strict=False):
                seconds = [server.percentiles(load)[place] for load in LOADS]
                label = f"{server.title}: {server.ratio:.2f} of the session's throughput"
                axes.plot(LOADS, seconds, color=server.colour, marker=marker, label=label if not place else None)
            axes.axhline(report.direct_s, color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
            axes.set_title(f"{percentile}th percentile", fontsize=10)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_xticks(LOADS, [f"{load:g}" for load in LOADS])
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        panels[0].set_ylabel("seconds from arrival to answer")
        panels[1].set_xlabel("rate of requests / rate of the session alone; dashed: the session alone, one clip")
        figure.suptitle(report.title, fontsize=11)
        figure.legend(loc="outside lower center", ncols=1, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
        pyplot.close(figure)


def _heads() -> list[str]:
    return [f"p{percentile} s" for percentile in PERCENTILES]


def _cores() -> int:
    return len(os.sched_getaffinity(0))
