"""``stablehlo``, ``savedmodel``, ``onnx`` and ``all``: export weights to checked files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.export_run import export_and_answer
from swift_export.cli.extras import need_extra
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.lists import words
from swift_export.cli.onnx_targets import describe_target
from swift_export.converter.opsets import DEFAULT_OPSET
from swift_export.errors import UsageError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.config import LOGITS
from swift_export.models.swift.head_facts import INSTEAD
from swift_export.models.swift.settings import SwiFTSettings, kind_of_output
from swift_export.models.swift.variants import find_variant

__all__ = ["everything", "onnx", "register", "savedmodel", "stablehlo"]


@dataclass(frozen=True)
class _Job:
    """The options of a command, except those of the exported function."""

    formats: tuple[str, ...]
    weights: str
    variant: str | None
    head: Path | None
    output: Path | None
    inputs: InputFiles
    check: bool
    force: bool
    quiet: bool
    answer: Answer


def register(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(
        epilog=examples(
            "swift-export stablehlo --weights model.ckpt --variant contrastive",
            "swift-export stablehlo --weights model.ckpt --output-kind embedding -o artifacts/embedding",
        )
    )(stablehlo)
    app.command(
        epilog=examples(
            "swift-export savedmodel --weights model.ckpt --variant contrastive",
            "swift-export savedmodel --variant contrastive --weights synthetic --no-check",
        )
    )(savedmodel)
    app.command(
        epilog=examples(
            "swift-export onnx --variant contrastive",
            "swift-export onnx --weights model.ckpt --outputs features,stage0 --input scan.nii.gz",
            "swift-export onnx --variant contrastive --head probe.safetensors -o artifacts/probe",
            "swift-export onnx --variant contrastive --target onnxruntime",
            "swift-export onnx --variant contrastive --weights synthetic --via savedmodel",
        )
    )(onnx)
    app.command(
        "all",
        epilog=examples(
            "swift-export all --weights model.ckpt --variant contrastive",
            "swift-export all --variant contrastive --weights synthetic:1 --frames 10 --batch 4 --force",
        ),
    )(everything)


@scan_options
@json_option("stablehlo")
def stablehlo(
    weights: options.Weights = "auto",
    variant: options.Variant = None,
    output: options.Output = None,
    outputs: options.Outputs = None,
    output_kind: options.OutputKind = None,
    head: options.Head = None,
    frames: options.Frames = None,
    batch: options.Batch = None,
    attention: options.Attention = "auto",
    precision: options.ExportPrecision = "float32",
    io_dtype: options.IoDtype = "float32",
    inputs: options.Inputs = None,
    no_check: options.NoCheck = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Export to StableHLO: a jax.export file and portable bytecode."""
    files = InputFiles(inputs or (), scans)
    job = _Job(("stablehlo",), weights, variant, head, output, files, not no_check, force, quiet, answer)
    _export(job, _settings(outputs, output_kind, head, frames, batch, attention, precision, io_dtype))


@scan_options
@json_option("savedmodel")
def savedmodel(
    weights: options.Weights = "auto",
    variant: options.Variant = None,
    output: options.Output = None,
    outputs: options.Outputs = None,
    output_kind: options.OutputKind = None,
    head: options.Head = None,
    frames: options.Frames = None,
    batch: options.Batch = None,
    attention: options.Attention = "auto",
    precision: options.ExportPrecision = "float32",
    io_dtype: options.IoDtype = "float32",
    inputs: options.Inputs = None,
    no_check: options.NoCheck = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Export to a TensorFlow SavedModel in TF Serving's layout."""
    files = InputFiles(inputs or (), scans)
    job = _Job(("savedmodel",), weights, variant, head, output, files, not no_check, force, quiet, answer)
    _export(job, _settings(outputs, output_kind, head, frames, batch, attention, precision, io_dtype))


@scan_options
@json_option("onnx")
def onnx(
    weights: options.Weights = "auto",
    variant: options.Variant = None,
    output: options.Output = None,
    outputs: options.Outputs = None,
    output_kind: options.OutputKind = None,
    head: options.Head = None,
    frames: options.Frames = None,
    batch: options.Batch = None,
    attention: options.Attention = "auto",
    precision: options.ExportPrecision = "float32",
    io_dtype: options.IoDtype = "float32",
    opset: options.Opset = DEFAULT_OPSET,
    target: options.Target = "portable",
    via: options.Via = "stablehlo",
    inputs: options.Inputs = None,
    no_check: options.NoCheck = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Export to ONNX, with a dynamic batch size."""
    files = InputFiles(inputs or (), scans)
    job = _Job(("onnx",), weights, variant, head, output, files, not no_check, force, quiet, answer)
    settings = _settings(outputs, output_kind, head, frames, batch, attention, precision, io_dtype)
    _export(job, settings, OnnxSettings(opset, target, via))


@scan_options
@json_option("all")
def everything(
    weights: options.Weights = "auto",
    variant: options.Variant = None,
    output: options.Output = None,
    outputs: options.Outputs = None,
    output_kind: options.OutputKind = None,
    head: options.Head = None,
    frames: options.Frames = None,
    batch: options.Batch = None,
    attention: options.Attention = "auto",
    precision: options.ExportPrecision = "float32",
    io_dtype: options.IoDtype = "float32",
    opset: options.Opset = DEFAULT_OPSET,
    target: options.Target = "portable",
    inputs: options.Inputs = None,
    no_check: options.NoCheck = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Export to StableHLO, SavedModel and ONNX, into one folder."""
    files = InputFiles(inputs or (), scans)
    job = _Job(
        ("stablehlo", "savedmodel", "onnx"), weights, variant, head, output, files, not no_check, force, quiet, answer
    )
    settings = _settings(outputs, output_kind, head, frames, batch, attention, precision, io_dtype)
    _export(job, settings, OnnxSettings(opset, target))


def _settings(
    outputs: list[str] | None,
    kind: str | None,
    head: Path | None,
    frames: int | None,
    batch: int | None,
    attention: str,
    precision: str,
    io_dtype: str,
) -> SwiFTSettings:
    kind = kind_of_output(kind, head)
    names = tuple(words(outputs, "--outputs")) or ("features",)
    return SwiFTSettings(frames, batch, names, kind, attention, precision, io_dtype)


def _export(job: _Job, settings: SwiFTSettings, chosen: OnnxSettings | None = None) -> None:
    # Errors in options are reported before anything is downloaded, installed or read.
    onnx = chosen or OnnxSettings()
    onnx.check()
    if job.variant is not None:
        variant = find_variant(job.variant)
        settings.check(variant.config)
        own = settings.output_kind == LOGITS and job.head is None and job.weights in ("auto", variant.name)
        if own and variant.head is None:
            raise UsageError(f"--output-kind {LOGITS}: {variant.name} was published without a head; {INSTEAD}")
    if job.head is not None:
        from swift_export.formats.probe_file import read_probe

        read_probe(job.head)
    if job.inputs.files and not job.check:
        raise UsageError("--input: cannot be combined with --no-check, because the check uses inputs; omit one of them")
    job.inputs.check()
    if "savedmodel" in (*job.formats, onnx.via):
        need_extra("savedmodel", "a SavedModel")

    from swift_export.exporting_swift import default_output
    from swift_export.models.swift.probe_head import with_probe
    from swift_export.models.swift.swift_model import swift_model
    from swift_export.models.swift.weights import load_weights
    from swift_export.parity.checking import BATCHES

    console = Console(job.quiet, json=job.answer.wanted)
    weights = load_weights(job.weights, variant=job.variant, quiet=job.quiet)
    weights = weights.with_contract(job.inputs.options.contract(weights.contract))
    weights = weights if job.head is None else with_probe(weights, job.head)
    console.weights(weights)
    if settings.output_kind == LOGITS:
        console.head(weights.head())
    if not job.inputs.files:
        console.contract(weights.contract)
    settings.check(weights.config)
    inputs = job.inputs.load(weights.config, settings.frames, weights.contract, console, most=max(BATCHES))
    # Imported only here: jax takes a second, and the checks above may fail.
    from swift_export.lowering.lower import keep_off_accelerators

    keep_off_accelerators()

    export_and_answer(
        job.formats,
        swift_model(weights, settings),
        job.output or default_output(weights, settings),
        onnx=onnx,
        check=job.check,
        force=job.force,
        console=console,
        answer=job.answer,
        inputs=inputs,
        notes=[describe_target(onnx.target, settings.precision)] if "onnx" in job.formats else [],
    )
