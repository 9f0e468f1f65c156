"""``check`` and ``diff``: compare the results of exported files with the reference and with each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, file_facts, json_option
from swift_export.cli.clip_inputs import given_clips
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra, need_runtime_extras
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.lists import SEVERAL, numbers, words
from swift_export.errors import SwiftExportError, UsageError

if TYPE_CHECKING:
    from swift_export.artifacts.manifest import Manifest
    from swift_export.models import Model
    from swift_export.models.swift.weights import Weights
    from swift_export.parity.results import ParityReport

__all__ = ["check", "diff", "register"]


def register(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(
        epilog=examples(
            "swift-export check artifacts/contrastive",
            "swift-export check artifacts/contrastive --input scan.nii.gz --mask brain_mask.nii.gz",
            "swift-export check model.onnx --weights model.ckpt --variant contrastive --device gpu",
            "swift-export check artifacts/contrastive --runtime onnxruntime,openvino --batch 1,3",
            "swift-export check artifacts/contrastive --quick",
        )
    )(check)
    app.command(
        epilog=examples(
            "swift-export diff artifacts/contrastive/onnx/model.onnx artifacts/contrastive/stablehlo/model.jax",
            "swift-export diff old/onnx/model.onnx new/onnx/model.onnx --input scan.nii.gz",
        )
    )(diff)


_HOW, _LIMITS = "Check", "Tolerance"


Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Artifact folders, parts of them, or single files.", show_default=False),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|HUB-ID|auto|synthetic[:SEED]",
        help="The weights of the files; default: found from the artifact's records.",
        rich_help_panel="Model",
    ),
]


@scan_options
@json_option("check")
def check(
    paths: Paths,
    weights: Reference = None,
    variant: options.Variant = None,
    head: options.Head = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="The Python model that the files were made from; default: compare with the outputs that the export "
            "recorded.",
            rich_help_panel="Model",
        ),
    ] = None,
    inputs: options.Inputs = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help=f"Run the files in this runtime. {SEVERAL} Default: every installed one that reads them (see "
            "swift-export runtimes).",
            autocompletion=options.runtime_names,
            rich_help_panel=_HOW,
        ),
    ] = None,
    device: options.Device = "cpu",
    precision: Annotated[
        Literal["float32", "tf32", "float16", "bfloat16"],
        typer.Option(
            help="Number format of matrix products in the runtimes; each has its own tolerance.",
            rich_help_panel=_HOW,
        ),
    ] = "float32",
    batches: Annotated[
        list[str] | None,
        typer.Option(
            "--batch",
            metavar="N",
            help=f"Batch size to check. {SEVERAL} Default: 1 and 2.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    max_l2: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest allowed relative L2 error; may exceed the policy only with --tolerance-reason.",
            show_default="1e-05 for float32",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest allowed error, relative to the reference's largest magnitude; likewise.",
            show_default="1e-05 for float32",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    tolerance_reason: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Reason for a looser --max-l2 or --max-error than the policy's; recorded in the report.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    rtol: Annotated[float | None, typer.Option(hidden=True)] = None,
    atol: Annotated[float | None, typer.Option(hidden=True)] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Compare with the golden outputs stored by the export, in each format's own runtime. Takes seconds, "
            "without JAX or weights.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Run files in every runtime and compare them with the JAX reference; exit status 1 if they differ."""
    from swift_export.parity.measure.tolerances import Limits

    max_l2, max_error = _one_of("--max-l2", max_l2, "--rtol", rtol), _one_of("--max-error", max_error, "--atol", atol)
    limits = Limits(max_l2, max_error, tolerance_reason)
    names, sizes = words(runtimes, "--runtime"), numbers(batches, "--batch")
    files = InputFiles(inputs or (), scans)
    if quick:
        others = {
            "--input": inputs,
            "--weights": weights,
            "--variant": variant,
            "--head": head,
            "--model": model,
            "--batch": sizes,
            "--max-l2": max_l2,
            "--max-error": max_error,
            "--tolerance-reason": tolerance_reason,
            "--precision": precision if precision != "float32" else None,
        }
        if given := [option for option, value in others.items() if value]:
            raise UsageError(f"--quick: cannot be combined with {' or '.join(given)}; omit one of them")
        _check_quickly(paths, names, device, Console(quiet, json=answer.wanted), answer)
        return
    files.check()
    limits.check(precision, device)
    _need_extras(paths, names)

    from swift_export.parity.checking import BATCHES, check_paths
    from swift_export.parity.targets import find_subject

    console = Console(quiet, json=answer.wanted)
    made_from = (
        _given_weights(weights, variant, head, paths[0], quiet)
        if model is None
        else _given_model(model, paths, weights or head, variant)
    )
    subjects = [find_subject(path, made_from) for path in paths]
    for source in {subject.digest: subject.source for subject in subjects}.values():
        if source is not None and source.weights is not None:
            console.weights(source.weights)
    clips = given_clips(files, subjects, console, max(sizes or BATCHES))
    manifests = _manifests(subject.root for subject in subjects)
    with console.progress() as on_progress:
        report = check_paths(
            paths,
            weights=made_from,
            inputs=clips,
            runtimes=names or "installed",
            device=device,
            precision=precision,
            batches=sizes or BATCHES,
            limits=limits,
            progress=on_progress,
        )
    _report(report, paths, console, answer)
    for folder, manifest in manifests.items():
        _write_reports(folder, manifest, report, console)
    report.raise_for_failures()


def _check_quickly(paths: list[Path], runtimes: list[str], device: str, console: Console, answer: Answer) -> None:
    from swift_export.parity.golden.quick import check_quick

    with console.progress() as on_progress:
        found = check_quick(paths, runtimes=runtimes, device=device, progress=on_progress)
    _report(found.report, paths, console, answer)
    answer.add(skipped=found.skipped)
    for line in found.skipped:
        console.line(f"note: not checked: {line}")
    found.report.raise_for_failures()


def _report(report: ParityReport, paths: Iterable[Path], console: Console, answer: Answer) -> None:
    from swift_export.parity.report import to_dict

    console.report(report)
    if answer.wanted:
        answer.add(files=file_facts(*paths), check=to_dict(report))


@scan_options
@json_option("diff")
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="An artifact or one of its files.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    inputs: options.Inputs = None,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Compare the outputs of two artifacts on the same inputs; exit status 1 if they differ beyond rounding."""
    files = InputFiles(inputs or (), scans)
    files.check()
    _need_extras([first, second])

    from swift_export.parity import diff_artifacts
    from swift_export.parity.checking import BATCHES
    from swift_export.parity.report import diff_to_dict
    from swift_export.parity.targets import find_artifacts

    console = Console(quiet, json=answer.wanted)
    found = [find_artifacts(path) for path in (first, second)]
    clips = given_clips(files, found, console, max(BATCHES))
    with console.progress() as on_progress:
        report = diff_artifacts(first, second, inputs=clips, device=device, progress=on_progress)
    console.report(report)
    console.line(f"{'the same' if report.same_weights else 'different'} weights")
    if answer.wanted:
        answer.add(files=file_facts(first, second), **diff_to_dict(report))
    if not report.equal:
        raise typer.Exit(1)


def _one_of(name: str, value: float | None, alias: str, aliased: float | None) -> float | None:
    """The value of an option given under its name or its older name; raises UsageError for both."""
    if value is not None and aliased is not None:
        raise UsageError(f"{name} and {alias}: expected one of them, found both; give only {name}")
    return aliased if value is None else value


def _given_weights(
    source: str | None, variant: str | None, head: Path | None, path: Path, quiet: bool
) -> Weights | None:
    """The given weights with the given probe; those of the artifact at ``path`` if only a probe is given."""
    from swift_export.models.swift.probe_head import with_probe
    from swift_export.models.swift.weights import load_weights
    from swift_export.parity.targets import find_artifacts, found_again

    weights = None
    if source is not None or variant is not None:
        weights = load_weights(source or "auto", variant=variant, quiet=quiet)
    elif head is not None:
        again = found_again(find_artifacts(path))
        weights = None if again is None else again.weights
    if head is None:
        return weights
    if weights is None:
        raise UsageError(f"--head {head}: expected artifacts of SwiFT, found another model; omit it")
    return with_probe(weights, head)


def _given_model(target: str, paths: Sequence[Path], weights: str | Path | None, variant: str | None) -> Model:
    """The model of a Python file, with the inputs of the first artifact."""
    from swift_export.lowering.lower import keep_off_accelerators
    from swift_export.models.python_files import load_again, split_target
    from swift_export.parity.targets import find_artifacts

    if weights is not None or variant is not None:
        raise UsageError(
            "--model: cannot be combined with --weights, --variant and --head, which are SwiFT's; omit one"
        )
    file, name = split_target(target)
    record = next(iter(find_artifacts(paths[0]).records.values()))
    if record.signature is None:
        raise UsageError(f"{paths[0]}: reading its signature needs TensorFlow: install the extra savedmodel")
    keep_off_accelerators()
    return load_again(file, name, record.signature, record.settings)


def _need_extras(paths: Iterable[Path], runtimes: Sequence[str] = ()) -> None:
    """Require the extras of the given runtimes, or TensorFlow if a SavedModel is among the paths."""
    from swift_export.artifacts.layout import SAVEDMODEL_FOLDER

    need_runtime_extras(runtimes)
    if runtimes:
        return
    for path in paths:
        for folder in (path, path / "1", path / SAVEDMODEL_FOLDER):
            if (folder / "saved_model.pb").is_file():
                need_extra("savedmodel", f"{folder}: a SavedModel")


def _manifests(roots: Iterable[str]) -> dict[Path, Manifest]:
    """The manifests of the artifact folders among ``roots``; the others are single files."""
    from swift_export.artifacts import read_manifest
    from swift_export.artifacts.layout import MANIFEST

    folders = dict.fromkeys(Path(root) for root in roots)
    return {folder: read_manifest(folder) for folder in folders if (folder / MANIFEST).is_file()}


def _write_reports(folder: Path, manifest: Manifest, report: ParityReport, console: Console) -> None:
    """Store the results of the last check in its artifact folder."""
    from swift_export.artifacts.writing import write_reports
    from swift_export.parity import report_files

    # A report may be copied with its artifact, so it contains no path of this machine.
    mine = [replace(found, root=folder.resolve().name) for found in report.artifacts if found.root == str(folder)]
    broken = tuple(found for found in report.broken if found.root == str(folder))
    own = replace(report, artifacts=tuple(mine), broken=broken)
    try:
        written = write_reports(folder, manifest, lambda manifest: report_files(manifest, own))
    except OSError as error:
        console.line(f"note: {error.filename or folder}: the report was not written ({error.strerror})")
    except SwiftExportError as error:
        console.line(f"note: the report was not written: {error}")
    else:
        for path in written:
            if path.suffix == ".html":
                console.line(f"wrote {path}, a page to look at")
