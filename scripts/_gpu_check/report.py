"""The results of a GPU check as Markdown and JSON, complete or not."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from _gpu_check.bars import verdicts
from _gpu_check.outcomes import COPY, UPLOAD, Outcome, Timed
from _gpu_check.rows import PEAKS, Row
from _gpu_check.work import clip_bytes, clip_flop
from swift_export.models.swift.config import SwiFTConfig
from swift_export.parity.report import table
from swift_export.system.files import replaced
from swift_export.system.hardware import processor, versions
from swift_export.system.nvml import find_card
from swift_export.system.text import one_line

__all__ = ["Report"]

PACKAGES = (
    *("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "equinox", "numpy", "onnx", "onnx-ir"),
    *("onnxruntime", "onnxruntime-gpu", "torch", "triton", "tensorflow", "tensorflow-cpu", "tensorrt"),
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)
PARITY = ("row", "input", "clips", "relative L2", "largest", "allowed", "result")
TIMES = ("row", "clips", "compute ms", "call ms", "clips/s", "of the roofline", "device MB", "J/clip")
BARS = ("figure", "limit", "stretch goal", "measured", "")


@dataclass
class Report:
    """What is known so far; rows without an outcome are still waiting."""

    command: str
    device: str
    architecture: str
    config: SwiFTConfig
    rows: Sequence[Row]
    elapsed_s: Callable[[], float]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """What makes the check fail, one line each: wrong features, and runs of our files that broke."""
        lines = []
        for row in self.rows:
            outcome = self.outcomes.get(row.name, Outcome())
            lines += [f"{row.name}: input {c.input}, {c.batch} clips: {c.text}" for c in outcome.wrong]
            broken = outcome.status == "failed" or (outcome.status == "stopped" and not outcome.compared)
            if broken and row.ours:
                lines.append(f"{row.name}: {outcome.status}: {outcome.reason}")
        return lines

    @property
    def computed(self) -> bool:
        """Whether any row computed features."""
        return any(outcome.compared for outcome in self.outcomes.values())

    def write(self, path: Path) -> None:
        """Write the Markdown to ``path`` and the JSON beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in ((path, self.markdown()), (path.with_suffix(".json"), self.json())):
            with replaced(target) as draft:
                draft.write_text(text, encoding="utf-8")

    def markdown(self) -> str:
        """The report's text."""
        shape = ", ".join(map(str, self.config.input_shape()))
        lines = ["# GPU report", "", f"`{self.command}` on {datetime.now(UTC):%Y-%m-%d}.", ""]
        lines += [f"- {name}: {fact}" for name, fact in _machine(self.device).items()]
        lines += [f"- model: {self.architecture}, clips ({shape}), synthetic weights", "", "## Limits", ""]
        bars = verdicts(self.outcomes, self.elapsed_s())
        lines += table(BARS, [(b.figure, b.limit, b.stretch, b.measured, b.word) for b in bars])
        lines += ["", "## Parity", ""]
        lines += ["Reference: the Equinox model in float32 at the highest precision, on the CPU.", ""]
        lines += table(PARITY, self.parity_rows())
        lines += ["", "## Time", "", *_NOTES, "", *table(TIMES, self.time_rows()), "", "## Peaks", ""]
        lines += self._peaks() or ["Not measured."]
        lines += ["", "## Not measured, or not in full", "", *(self._unmeasured() or ["Nothing."])]
        lines += ["", "## Notes", "", *(self._how() or ["None."])]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """All results as plain data."""
        rows = {
            row.name: {"title": row.title, "precision": row.precision, "ours": row.ours, **asdict(outcome)}
            for row in self.rows
            if (outcome := self.outcomes.get(row.name, Outcome("waiting")))
        }
        bars = [asdict(bar) for bar in verdicts(self.outcomes, self.elapsed_s())]
        data = {
            "command": self.command,
            "machine": _machine(self.device),
            "architecture": self.architecture,
            "clip": {"flop": clip_flop(self.config), "bytes": clip_bytes(self.config)},
            "seconds": self.elapsed_s(),
            "limits": bars,
            "rows": rows,
        }
        return json.dumps(data, indent=1) + "\n"

    def parity_rows(self) -> list[tuple[str, ...]]:
        """One row per comparison, as text under `PARITY`."""
        return [
            (
                row.title,
                c.input,
                str(c.batch),
                f"{c.relative_l2:.1e}",
                f"{c.relative_max:.1e}",
                f"{c.allowed_l2:g}, {c.allowed_max:g}",
                "ok" if c.passed else "FAILED",
            )
            for row in self.rows
            for c in self.outcomes.get(row.name, Outcome()).compared
        ]

    def time_rows(self) -> list[tuple[str, ...]]:
        """One row per row and batch size, as text under `TIMES`."""
        return [
            (
                row.title,
                str(times.batch),
                str(times.compute),
                str(times.call),
                f"{1e3 * times.batch / times.compute.median:.0f}",
                self._roofline(row, times),
                "-" if times.memory is None else f"{times.memory / 1e6:.0f}",
                "-" if times.joules is None else f"{times.joules:.2g}",
            )
            for row in self.rows
            for times in sorted(self.outcomes.get(row.name, Outcome()).timed, key=lambda times: times.batch)
        ]

    def _roofline(self, row: Row, times: Timed) -> str:
        peaks = self.outcomes.get(PEAKS.name, Outcome()).peaks
        if row.precision not in peaks:
            return "-"
        itemsize = 2 if row.precision in ("float16", "bfloat16") else 4
        least = max(clip_flop(self.config) / peaks[row.precision], clip_bytes(self.config, itemsize) / peaks[COPY])
        return f"{100 * 1e3 * least * times.batch / times.compute.median:.1f} %"

    def _peaks(self) -> list[str]:
        peaks = self.outcomes.get(PEAKS.name, Outcome()).peaks
        if not peaks:
            return []
        units = {COPY: ("GB/s read and written on the device", 1e9), UPLOAD: ("GB/s from an array to the device", 1e9)}
        lines = []
        for name, value in peaks.items():
            unit, scale = units.get(name, (f"TFLOP/s in {name}", 1e12))
            lines.append(f"- {value / scale:.4g} {unit}")
        return [*lines, f"- one clip: {clip_flop(self.config) / 1e9:.1f} GFLOP, {clip_bytes(self.config) / 1e6:.1f} MB"]

    def _unmeasured(self) -> list[str]:
        lines = []
        for row in self.rows:
            outcome = self.outcomes.get(row.name, Outcome("waiting"))
            if outcome.status != "measured":
                reason = f": {one_line(outcome.reason, 600)}" if outcome.reason else ""
                lines.append(f"- {row.title} (`{row.name}`): {outcome.status}{reason}")
        return lines

    def _how(self) -> list[str]:
        lines = []
        for row in self.rows:
            outcome = self.outcomes.get(row.name, Outcome())
            if outcome.how:
                lines.append(f"- {row.title}: {outcome.runtime} {outcome.how}")
            lines += [f"- {row.title}: {one_line(note, 600)}" for note in outcome.notes]
        return lines


_NOTES = (
    "Medians of warm calls, with quartiles. Compute: the clips lie on the device, the features stay there; call: from",
    "NumPy array to NumPy array. Clips/s and roofline go with compute: the time that the definition's products and the",
    "unavoidable bytes take at the measured peaks, over the measured time. Forms with fewer products can exceed 100 %.",
    "Device MB: the most that the process has held so far, as the driver counts it.",
)


def _machine(device: str) -> Mapping[str, str]:
    card = find_card() if device == "gpu" else None
    facts = {}
    if card is not None:
        facts["card"] = f"{card.name}, driver {card.driver}, {card.memory / 2**30:.0f} GiB"
    facts["processor"] = processor()
    facts["versions"] = ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version}" for name, version in versions(PACKAGES).items())]
    )
    return facts
