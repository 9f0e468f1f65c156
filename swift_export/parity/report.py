"""What a check found: as rows, on the console, in parity.json and parity.md, and as the manifest's measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift_export._version import __version__
from swift_export.artifacts.layout import find_format, is_inside
from swift_export.artifacts.manifest import Manifest, Measurement
from swift_export.artifacts.schema import dumps
from swift_export.errors import CheckFailed
from swift_export.parity.compare import Difference
from swift_export.parity.structure import Setting
from swift_export.parity.tolerances import Tolerance
from swift_export.runtimes.base import RuntimeInfo

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "Checked",
    "Comparison",
    "ParityReport",
    "RunTime",
    "WeightsTag",
    "report_files",
    "table",
]

SCHEMA_VERSION = 1

COLUMNS = ("artifact", "runtime", "input", "batch", "output", "relative L2", "largest", "allowed", "result")


@dataclass(frozen=True)
class Comparison:
    """One output of one run, against the reference."""

    input: str
    batch: int
    output: str
    difference: Difference
    allowed: Tolerance

    @property
    def passed(self) -> bool:
        """Whether the output is near enough."""
        return self.difference.within(self.allowed)

    def __str__(self) -> str:
        allowed = f"allowed {self.allowed.relative_l2:.2g} and {self.allowed.relative_max:.2g}"
        return f"input {self.input}, batch {self.batch}, output {self.output}: {self.difference} ({allowed})"


@dataclass(frozen=True)
class WeightsTag:
    """Which weights an artifact was checked against."""

    variant: str
    digest: str
    synthetic: bool


@dataclass(frozen=True)
class RunTime:
    """Seconds of one run: the first call, which may compile, and warm calls where they were asked for.

    ``call_s`` is from arrays to arrays, ``compute_s`` with the input on the device and the outputs left there.
    """

    input: str
    batch: int
    first_s: float
    call_s: tuple[float, ...]
    compute_s: tuple[float, ...]


@dataclass(frozen=True)
class Checked:
    """One artifact in its runtime: comparisons of its outputs, and the settings read from its graphs.

    ``root`` is what the user named, ``file`` the path below it; ``load_s`` and ``peak_bytes`` are those of the
    runtime's process.
    """

    root: str
    file: str
    weights: WeightsTag
    info: RuntimeInfo
    load_s: float
    peak_bytes: int
    times: tuple[RunTime, ...]
    comparisons: tuple[Comparison, ...]
    settings: tuple[Setting, ...]

    @property
    def runtime(self) -> str:
        """Name and version."""
        return f"{self.info.name} {self.info.version}"

    @property
    def failures(self) -> list[str]:
        """What does not hold, a line each."""
        who = f"{self.file}: {self.runtime} on {self.info.device}"
        figures = [f"{who}: {comparison}" for comparison in self.comparisons if not comparison.passed]
        said = [
            f"{self.file}: {setting.place}: {setting.name}: expected {setting.expected}, found {setting.found}"
            for setting in self.settings
            if not setting.holds
        ]
        return figures + said


@dataclass(frozen=True)
class ParityReport:
    """All artifacts of one check.

    ``device`` is what was asked for, ``reference`` who computed the reference, ``inputs`` how the clips came about.
    """

    device: str
    reference: RuntimeInfo
    artifacts: tuple[Checked, ...]
    inputs: tuple[Mapping[str, Any], ...] = ()

    @property
    def failures(self) -> list[str]:
        """What does not hold, a line each."""
        return [line for artifact in self.artifacts for line in artifact.failures]

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """Raise CheckFailed with the first failure, and how many more there are."""
        if self.failures:
            first, *others = self.failures
            raise CheckFailed(first + (f"; and {len(others)} more" if others else ""))

    def measurements(self, format_name: str | None = None) -> tuple[Measurement, ...]:
        """The comparisons of one format (default: of all) as the manifest records them."""
        folder = None if format_name is None else find_format(format_name).folder
        return tuple(
            Measurement(
                file=artifact.file,
                runtime=artifact.runtime,
                device=self.device,
                input=comparison.input,
                batch=comparison.batch,
                output=comparison.output,
                relative_l2=comparison.difference.relative_l2,
                relative_max=comparison.difference.relative_max,
                tolerance=max(comparison.allowed.relative_l2, comparison.allowed.relative_max),
            )
            for artifact in self.artifacts
            if folder is None or artifact.file == folder or is_inside(artifact.file, folder)
            for comparison in artifact.comparisons
        )

    def rows(self) -> list[tuple[str, ...]]:
        """One row a comparison and one an artifact's settings, as text under `COLUMNS`."""
        rows: list[tuple[str, ...]] = []
        several = len({artifact.root for artifact in self.artifacts}) > 1
        for artifact in self.artifacts:
            name = f"{Path(artifact.root).name}/{artifact.file}" if several else artifact.file
            for c in artifact.comparisons:
                figures = (_figure(c.difference.relative_l2), _figure(c.difference.relative_max))
                result = "ok" if c.passed else "FAILED"
                allowed = f"{c.allowed.relative_l2:.2g}"
                place = (name, artifact.runtime, c.input, str(c.batch), c.output)
                rows.append((*place, *figures, allowed, result))
            if not artifact.settings:
                continue
            wrong = sum(not setting.holds for setting in artifact.settings)
            what = f"{len(artifact.settings)} settings read from its graph"
            result = f"{wrong} WRONG" if wrong else "ok"
            rows.append((name, what, "", "", "", "", "", "", result))
        return rows

    def render(self, console: Console) -> None:
        """Print the table."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in COLUMNS:
            numeric = column in ("batch", "relative L2", "largest", "allowed")
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in self.rows():
            table.add_row(*row, style=None if row[-1] == "ok" else "bold red")
        console.print(table)

    def to_json(self, carried: Sequence[Measurement] = ()) -> str:
        """The text of parity.json; ``carried`` are measurements of earlier checks that still hold."""
        return dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "tool": f"swift-export {__version__}",
                "device": self.device,
                "reference": asdict(self.reference),
                "inputs": list(self.inputs),
                "passed": self.passed,
                "failures": self.failures,
                "artifacts": [_artifact(artifact) for artifact in self.artifacts],
                "earlier_measurements": [asdict(measurement) for measurement in carried],
            }
        )

    def to_markdown(self, carried: Sequence[Measurement] = ()) -> str:
        """The text of parity.md."""
        tags = sorted({a.weights for a in self.artifacts}, key=lambda tag: tag.digest)
        lines = ["# Parity", "", f"Reference: {_who(self.reference)}, float32 at the highest precision.", ""]
        for tag in tags:
            note = " Synthetic weights: the features mean nothing." if tag.synthetic else ""
            lines.append(f"Weights: {tag.variant}, digest `{tag.digest}`.{note}")
        lines += ["", f"Result: {'passed' if self.passed else 'FAILED'}.", ""]
        if self.failures:
            lines += [*(f"- {failure}" for failure in self.failures), ""]
        lines += table(COLUMNS, self.rows())
        reasons = {(a.info.arithmetic, c.allowed) for a in self.artifacts for c in a.comparisons}
        for arithmetic, allowed in sorted(reasons, key=lambda pair: (pair[0], pair[1].relative_l2)):
            lines += ["", f"Allowed for {arithmetic}: {allowed.relative_l2:.2g} and {allowed.relative_max:.2g}."]
            lines.append(f"Reason: {allowed.reason}.")
        if carried:
            lines += ["", "## From earlier checks", ""]
            lines += table(COLUMNS, [_carried_row(measurement) for measurement in carried])
        return "\n".join(lines) + "\n"


def report_files(manifest: Manifest, report: ParityReport) -> dict[str, str]:
    """An artifact folder's report files: this check, and what ``manifest`` records of files it did not touch."""
    fresh = {artifact.file for artifact in report.artifacts}
    carried = [m for a in manifest.artifacts.values() for m in a.parity or () if m.file not in fresh]
    return {"parity.json": report.to_json(carried), "parity.md": report.to_markdown(carried)}


def _artifact(artifact: Checked) -> dict[str, Any]:
    comparisons = [
        {
            "input": c.input,
            "batch": c.batch,
            "output": c.output,
            "relative_l2": _finite(c.difference.relative_l2),
            "relative_max": _finite(c.difference.relative_max),
            "non_finite": c.difference.non_finite,
            "mismatch": c.difference.mismatch,
            "allowed": asdict(c.allowed),
            "passed": c.passed,
        }
        for c in artifact.comparisons
    ]
    # Of the folder only its name: a report may travel, and tells nothing of the machine.
    return asdict(artifact) | {"root": Path(artifact.root).name, "comparisons": comparisons}


def _who(info: RuntimeInfo) -> str:
    return f"{info.name} {info.version} on {info.device}"


def _figure(value: float) -> str:
    return f"{value:.1e}" if math.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _carried_row(m: Measurement) -> tuple[str, ...]:
    figures = (_figure(m.relative_l2), _figure(m.relative_max), f"{m.tolerance:.2g}")
    result = "ok" if max(m.relative_l2, m.relative_max) <= m.tolerance else "FAILED"
    return (m.file, m.runtime, m.input, str(m.batch), m.output, *figures, result)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
