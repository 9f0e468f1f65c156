"""``quantize``: an artifact with integer weights from a float32 one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, file_facts, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.lists import REPEATED
from swift_export.errors import InputError, UsageError

if TYPE_CHECKING:
    from swift_export.models import CheckInput
    from swift_export.parity.float_source import FloatSource
    from swift_export.quantizing import QuantizeResult

__all__ = ["quantize", "register"]

#: Most clips of one file: more calibrate no better, and a full-size one takes seconds.
_MOST_CLIPS = 8


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export quantize artifacts/contrastive -o artifacts/contrastive-int8",
            "swift-export quantize artifacts/contrastive -o int8 --calibrate clips/ --input held-out.npy",
            "swift-export quantize artifacts/contrastive -o int4 --method weights-int4",
        )
    )(quantize)


@scan_options
@json_option("quantize")
def quantize(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="A float32 artifact folder with an ONNX file.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The artifact folder to write.")],
    method: Annotated[
        Literal["int8", "weights-int8", "weights-int4"],
        typer.Option(
            help="int8: integer products, weights of 8 and activations of 7 bits. weights-int8, weights-int4: only the "
            "weights are stored as integers, for a small file in ONNX Runtime."
        ),
    ] = "int8",
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CLIP.npy|SCAN|FOLDER",
            help=f"Measure the ranges of activations for int8 on these clips, or on all of a folder's .npy. {REPEATED}",
            show_default="noise and a phantom, or random arrays",
        ),
    ] = None,
    inputs: options.Inputs = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Replace float32 weights of the ONNX file by integers, and measure error, size and speed beside it."""
    clips = [file for path in calibrate or () for file in _clip_files(path)]
    files = InputFiles([*clips, *(inputs or ())], scans)
    files.check()

    import swift_export.quantizing
    from swift_export.parity.float_source import float_source

    console = Console(quiet, json=answer.wanted)
    given = _given(files, float_source(artifact), console)
    with console.progress() as on_progress:
        done = swift_export.quantizing.quantize(
            artifact,
            output,
            method=method,
            calibrate=given[: len(clips)],
            inputs=given[len(clips) :],
            force=force,
            progress=on_progress,
        )
    _show(done, console)
    if answer.wanted:
        answer.add(files=file_facts(output), quantization=done.quantization, notes=done.notes)


def _clip_files(path: Path) -> Sequence[Path]:
    """The clips in a folder; any other path, or a folder of the authors' frames, is one scan."""
    if path.is_dir() and (found := sorted(path.glob("*.npy"))):
        return found
    if path.is_dir() and not any(path.glob("frame_*.pt")):
        raise InputError(f"{path}: expected clips (.npy) or frames (frame_N.pt), found none")
    return [path]


def _given(files: InputFiles, source: FloatSource, console: Console) -> list[CheckInput]:
    from swift_export.models.swift.recorded import contract_of_record

    if not files.files:
        return []
    config = source.recorded.swift
    if config is None:
        raise UsageError("--calibrate, --input: expected an artifact of SwiFT, found another model; omit them")
    frames = source.model.inputs[0].dims[-1]
    contract = contract_of_record(source.recorded, None)
    return files.load(config, frames if isinstance(frames, int) else None, contract, console, _MOST_CLIPS)


def _show(done: QuantizeResult, console: Console) -> None:
    record = done.quantization
    assert record.size
    assert record.source_size
    assert record.time_ratio
    faster = f"{1 / record.time_ratio:.2f} times as fast" if record.time_ratio <= 1 else "SLOWER"
    of = f" of {record.products + record.kept}" if record.kept else ""
    console.facts(
        {
            "method": f"{record.method}, {record.products}{of} products with constant weights",
            "activations": record.activations,
            "calibration": ", ".join(f"{one.name} ({one.items})" for one in record.calibration) or "none needed",
            "size": f"{record.size / 1e6:.1f} MB, {record.size / record.source_size:.2f} of the float32 file's",
            "time": f"{record.time_ratio:.2f} of the float32 file's: {faster}",
            "tolerance": f"relative L2 {record.relative_l2:.2g}, largest {record.relative_max:.2g}",
        }
    )
    columns = ("input", "output", "relative L2", "largest", "cosine", "against")
    rows = [
        (
            effect.input,
            effect.output,
            f"{effect.relative_l2:.1e}",
            f"{effect.relative_max:.1e}",
            "undefined" if effect.cosine is None else f"{effect.cosine:.5f}",
            effect.reference,
        )
        for effect in record.effects
    ]
    console.table(columns, rows)
    for note in done.notes:
        console.line(f"note: {note}")
    if warning := done.manifest.weights.note:
        console.line(warning, style="bold yellow")
    console.line(f"wrote {done.folder}")
