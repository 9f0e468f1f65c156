"""The results of a GPU check as ``docs/gpu-report.md``."""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distributions
from itertools import chain

from swift_export.models.model import sizes_text
from swift_export.parity.report import COLUMNS, rows, table
from swift_export.parity.results import Checked, ParityReport

__all__ = ["TIME_COLUMNS", "Findings", "describe_machine"]

TIME_COLUMNS = ("artifact", "runtime", "sizes", "compute ms", "call ms", "first call s", "load s")

_PACKAGES = (
    *("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "equinox", "numpy", "onnx", "onnx-ir"),
    *("onnxruntime", "onnxruntime-gpu", "tensorflow", "tensorflow-cpu"),
)


@dataclass(frozen=True)
class Findings:
    """Runs and settings, absent runtimes, and failures."""

    command: str
    machine: Sequence[str]
    model: str
    parity: ParityReport
    absent: Sequence[str]
    broken: Sequence[str]

    @property
    def failures(self) -> list[str]:
        """Broken runtimes and failed comparisons, one line each."""
        return [*self.broken, *self.parity.failures]

    def time_rows(self) -> list[tuple[str, ...]]:
        """Medians of all warm calls, one row per artifact and sizes, as text under `TIME_COLUMNS`."""
        rows: list[tuple[str, ...]] = []
        for artifact in self.parity.artifacts:
            for sizes in dict.fromkeys(sizes_text(time.sizes) for time in artifact.times):
                times = [time for time in artifact.times if sizes_text(time.sizes) == sizes]
                compute, call = (
                    f"{1e3 * statistics.median(chain.from_iterable(seconds)):.2f}"
                    for seconds in ([t.compute_s for t in times], [t.call_s for t in times])
                )
                first = f"{times[0].first_s:.1f}"
                rows.append((artifact.file, artifact.runtime, sizes, compute, call, first, f"{artifact.load_s:.1f}"))
        return rows

    def markdown(self) -> str:
        """The report's text."""
        lines = ["# GPU report", "", f"`{self.command}` on {datetime.now(UTC):%Y-%m-%d}.", ""]
        lines += [*(f"- {fact}" for fact in self.machine), f"- model: {self.model}, synthetic weights"]
        lines += sorted({_how(artifact) for artifact in self.parity.artifacts})
        lines += ["", "## Parity", ""]
        lines += ["Reference: the Equinox model in float32 at the highest precision, on the CPU.", ""]
        lines += table(COLUMNS, rows(self.parity))
        lines += ["", "## Time", "", "Medians of warm calls. Compute: the input lies on the device, the outputs stay."]
        lines += ["Call: from NumPy array to NumPy array, the copies included. First call: compiling included.", ""]
        lines += table(TIME_COLUMNS, self.time_rows())
        for title, what in (("Absent", self.absent), ("Failed", self.failures)):
            lines += ["", f"## {title}", "", *(f"- {line}" for line in what or ("nothing",))]
        return "\n".join(lines) + "\n"


def _how(artifact: Checked) -> str:
    info = artifact.info
    switches = [f"{name} {value}" for name, value in info.settings.items()]
    details = "; ".join([info.arithmetic, *switches, f"providers {', '.join(info.providers)}"])
    return f"- {artifact.runtime} on {info.device}: {details}"


def describe_machine() -> list[str]:
    """Cards, driver, processor count and versions, one line each."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
        cards = [f"card (name, driver, memory, compute capability): {line.strip()}" for line in found]
    except (OSError, subprocess.SubprocessError):
        cards = ["card: none that nvidia-smi shows"]
    installed = {str(found.metadata["Name"]).lower(): found.version for found in distributions()}
    versions = [f"{name} {installed[name]}" for name in _PACKAGES if name in installed]
    return [*cards, f"versions: Python {platform.python_version()}, {', '.join(versions)}"]
