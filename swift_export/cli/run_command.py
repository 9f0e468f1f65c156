"""``run``: features of scans from an exported artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_runtime
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.scan_outputs import made_folders, output_places, picture_places
from swift_export.errors import UsageError
from swift_export.scans.clip_windows import window_count
from swift_export.system.text import plural

if TYPE_CHECKING:
    from swift_export.features.pipeline import Pipeline

__all__ = ["register", "run"]

_RUNTIME, _FILE = "Runtime", "File"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export run artifacts/contrastive sub-01_bold.nii.gz -o sub-01.tsv --mask sub-01_mask.nii.gz",
            "swift-export run artifacts/hcp-sex run-1.nii.gz run-2.nii.gz -o features/ --output-kind tokens",
            "swift-export run onnx/model.onnx clips.npy -o clips.safetensors --runtime openvino --picture clips.png",
        )
    )(run)


@scan_options
@json_option("run")
def run(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT", help="An artifact folder, one of its files, or a separate file.", show_default=False
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...",
            help="4D NIfTI runs, registered to MNI152 at 2 mm, folders of the authors' frame_N.pt, or prepared .npy.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The file to write, .tsv, .safetensors or .npz; for several scans, a folder.",
        ),
    ],
    output_kind: Annotated[
        Literal["features", "tokens", "embedding", "logits"] | None,
        typer.Option(
            help="features: the map of the last stage. tokens: the same as one row per token. embedding: the mean over "
            "tokens. logits: of an artifact with a head.",
            show_default="embedding, or logits",
            rich_help_panel=_FILE,
        ),
    ] = None,
    pool: Annotated[
        bool,
        typer.Option("--pool", help="Write only mean and standard deviation over the windows.", rich_help_panel=_FILE),
    ] = False,
    file_format: Annotated[
        Literal["tsv", "safetensors", "npz"] | None,
        typer.Option(
            "--format",
            help="The format of the files of several scans.",
            show_default="tsv, for features and tokens safetensors",
            rich_help_panel=_FILE,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also draw the scan, its windows, their embeddings and their similarity. For several scans, a folder.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    windows: options.Windows = "all",
    stride: options.Stride = None,
    runtime: options.RuntimeName = None,
    device: options.RuntimeDevice = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="Threads.", show_default="one per processor", rich_help_panel=_RUNTIME),
    ] = None,
    batch: options.WindowsTogether = 1,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Compute the features of all windows of each scan, with a sidecar that states their provenance."""
    for name, value in (("--threads", threads), ("--batch", batch), ("--stride", stride)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    count = window_count(windows)
    InputFiles(files, scans).check()
    masks = scans.masks_for(files)
    need_runtime(runtime)

    from swift_export.features.extractor import find_backbone
    from swift_export.features.feature_run import Job, default_kind, run_jobs
    from swift_export.features.pipeline import ScanFile
    from swift_export.scans.scan import is_nifti

    backbone = find_backbone(artifact, runtime, device)
    kind = backbone.kind(output_kind or default_kind(backbone))
    suffix = file_format or ("safetensors" if kind in ("features", "tokens") else "tsv")
    outputs = output_places(files, output, f".{suffix}", "features")
    pictures = picture_places(files, picture)
    console = Console(quiet, json=answer.wanted)
    reading = None
    if any(file.suffix != ".npy" for file in files):
        reading = scans.reading(backbone.contract, windows=count, step=stride)
        console.placement(reading, scans.contract(backbone.contract), any(map(is_nifti, files)))
    if backbone.synthetic:
        console.warning(f"{artifact}: the weights are synthetic: the features mean nothing")
    jobs = [
        Job(ScanFile(file, mask), path, drawn)
        for file, mask, path, drawn in zip(files, masks, outputs, pictures, strict=True)
    ]
    done: list[dict[str, Any]] = []
    answer.add(features=done)
    folders = {path.parent for path in (*outputs, *pictures) if path is not None and len(files) > 1}
    loaded: list[Pipeline] = []

    def say(pipeline: Pipeline) -> None:
        if not loaded:
            loaded.append(pipeline)
            info = pipeline.extractor.session.info
            count, lanes = pipeline.extractor.threads, pipeline.extractor.at_once
            used = plural(count, "thread")
            if lanes > 1:
                used = f"{lanes} {'windows' if pipeline.together == 1 else 'batches'} at once, {used}"
            computing = f"{info.name} {info.version}, {info.device}, {used}"
            console.facts({"runtime  ": f"{computing}, {backbone.facts['artifact']}"})

    with made_folders(folders), console.progress() as on_progress:
        for written in run_jobs(
            backbone,
            jobs,
            reading,
            kind,
            pool=pool,
            batch=batch,
            threads=threads,
            strict=scans.strict,
            warn=console.warning,
            on_progress=on_progress,
            on_loaded=say,
        ):
            done.append({"path": str(written.path), "sidecar": str(written.sidecar), **written.facts})
            shape = written.facts["shape"]
            what = plural(shape[0], "window")
            if pool:
                what = f"mean and deviation of {what}"
            console.line(f"wrote {written.path}, {kind} of {what} ({', '.join(map(str, shape))})")
            if written.picture:
                console.line(f"wrote {written.picture}, a picture for visual inspection")
