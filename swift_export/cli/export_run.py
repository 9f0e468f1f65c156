"""What all export commands do once they have a model: export it, show the check, say what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swift_export.artifacts.layout import FORMATS
from swift_export.cli.answers import Answer, file_facts
from swift_export.cli.console import Console
from swift_export.lowering.onnx_settings import OnnxSettings

if TYPE_CHECKING:
    from swift_export.models import CheckInput, Model
    from swift_export.parity.results import ParityReport

__all__ = ["export_and_answer"]


def export_and_answer(
    formats: Sequence[str],
    model: Model,
    output: Path,
    *,
    onnx: OnnxSettings,
    check: bool,
    force: bool,
    console: Console,
    answer: Answer,
    inputs: Sequence[CheckInput] = (),
    notes: Sequence[str] = (),
) -> None:
    """Run `run_export`; the console and ``--json`` say what it checked and wrote.

    ``notes`` are lines for the console beside that. Raises what `run_export` raises.
    """
    from swift_export.exporting import run_export
    from swift_export.parity.report import to_dict

    def show(report: ParityReport) -> None:
        console.report(report)
        answer.add(check=to_dict(report))

    with console.progress() as on_progress:
        result = run_export(
            formats, model, output, onnx=onnx, check=check, inputs=inputs, force=force, progress=on_progress, show=show
        )
    for line in notes:
        console.line(line)
    for path in result.files:
        console.line(f"wrote {path}")
    answer.add(
        folder=str(result.folder),
        formats=result.formats,
        weights=result.manifest.weights,
        files=file_facts(*(result.folder / FORMATS[name].folder for name in result.formats)),
    )
