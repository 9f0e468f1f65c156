"""``check`` and ``diff``: what exported files compute, against the reference and against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swift_export.cli import options
from swift_export.cli.console import Console
from swift_export.cli.extras import need_extra
from swift_export.cli.inputs import InputFiles
from swift_export.cli.text import examples
from swift_export.errors import UsageError

if TYPE_CHECKING:
    from swift_export.parity.inputs import CheckInput
    from swift_export.parity.report import ParityReport
    from swift_export.parity.targets import Subject
    from swift_export.weights import Weights

__all__ = ["check", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        epilog=examples(
            "swift-export check artifacts/contrastive",
            "swift-export check artifacts/contrastive --input scan.nii.gz --mask brain_mask.nii.gz",
            "swift-export check model.onnx --weights model.ckpt --variant contrastive --device gpu",
        )
    )(check)


Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Artifact folders, parts of them, or single files.", show_default=False),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|HUB-ID|auto|synthetic[:SEED]",
        help="What the files were made from; default: found again from what the artifact records.",
        rich_help_panel="Model",
    ),
]


def check(
    paths: Paths,
    weights: Reference = None,
    variant: options.Variant = None,
    inputs: options.Inputs = None,
    orientation: options.Orientation = "LAS",
    mask: options.Mask = None,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
) -> None:
    """Run files in their own runtimes and compare them with the JAX reference; exit status 1 where they differ."""
    files = InputFiles(inputs or (), orientation, mask)
    files.check()
    _need_extras(paths)

    from swift_export.parity import check_paths
    from swift_export.parity.targets import find_subject

    console = Console(quiet)
    given = _given_weights(weights, variant, quiet)
    subjects = [find_subject(path, given) for path in paths]
    for subject in subjects:
        console.weights(subject.weights)
    with console.progress() as tell:
        report = check_paths(paths, weights=given, inputs=_clips(files, subjects), device=device, progress=tell)
    console.report(report)
    for folder in {subject.root for subject in subjects}:
        _write_report(Path(folder), report, console)
    report.raise_for_failures()


def _given_weights(source: str | None, variant: str | None, quiet: bool) -> Weights | None:
    from swift_export.weights import load_weights

    if source is None and variant is None:
        return None
    return load_weights(source or "auto", variant=variant, quiet=quiet)


def _need_extras(paths: Iterable[Path]) -> None:
    """Ask for TensorFlow where a SavedModel is among what is named."""
    from swift_export.artifacts.layout import SAVEDMODEL_FOLDER

    for path in paths:
        for folder in (path, path / "1", path / SAVEDMODEL_FOLDER):
            if (folder / "saved_model.pb").is_file():
                need_extra("savedmodel", f"{folder}: a SavedModel")


def _clips(files: InputFiles, subjects: list[Subject]) -> list[CheckInput]:
    if not files.files:
        return []
    wanted = {(subject.weights.config, target.settings.frames) for subject in subjects for target in subject.targets}
    if len(wanted) > 1:
        raise UsageError("--input: the artifacts take clips of different shapes; check them one by one")
    config, frames = wanted.pop()
    return files.load(config, frames)


def _write_report(folder: Path, report: ParityReport, console: Console) -> None:
    """Leave in an artifact folder what its last check measured."""
    from swift_export.artifacts import read_manifest
    from swift_export.artifacts.layout import MANIFEST
    from swift_export.parity import report_files

    if not (folder / MANIFEST).is_file():
        return
    own = replace(report, artifacts=tuple(found for found in report.artifacts if found.root == str(folder)))
    try:
        for name, text in report_files(read_manifest(folder), own).items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        console.line(f"note: {error.filename} was not written ({error.strerror})")
