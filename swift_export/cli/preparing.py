"""``prepare``: turns scans into clips like those that the model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.scan_outputs import made_folders, output_places, picture_places
from swift_export.errors import InputError, UsageError
from swift_export.scans.clip_windows import window_count
from swift_export.scans.contract import InputContract, contract_of
from swift_export.system.text import plural

if TYPE_CHECKING:
    from swift_export.models.swift.config import SwiFTConfig

__all__ = ["prepare", "register"]

_MODEL, _FILE = "Model", "File"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export prepare sub-01_bold.nii.gz -o sub-01.npy --mask sub-01_mask.nii.gz --placement hcp",
            "swift-export prepare run-1.nii.gz run-2.nii.gz -o clips/ --variant contrastive --picture clips/",
            "swift-export prepare bold.nii.gz -o clip.npy --placement ukb --start 100 --windows 1 --dtype float16",
        )
    )(prepare)


@scan_options
@json_option("prepare")
def prepare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...",
            help="4D NIfTI runs, registered to MNI152 at 2 mm, or folders of the authors' frame_N.pt.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="The .npy file to write; for several scans, a folder."),
    ],
    variant: options.Variant = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The checkpoint or bundle that the clips are for; it states its training data set.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    frames: options.Frames = None,
    windows: options.Windows = "all",
    stride: options.Stride = None,
    dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Type of the stored clips; float16 as in training.", rich_help_panel=_FILE),
    ] = "float32",
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help=(
                "Also draw the mean volume on the model's grid, the windows and the values. For several scans, a "
                "folder."
            ),
            rich_help_panel=_FILE,
        ),
    ] = None,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Write all windows of each scan as an array of clips, with a sidecar that states their provenance."""
    count = window_count(windows)
    if stride is not None and stride < 1:
        raise UsageError(f"--stride {stride}: expected a number of frames of at least 1")
    inputs = InputFiles(files, scans)
    inputs.check()
    masks = scans.masks_for(files)
    outputs = output_places(files, output, ".npy", "clips")
    pictures = picture_places(files, picture)
    contract, config = _model(weights, variant, quiet)
    reading = scans.reading(contract, windows=count, step=stride)

    from swift_export.scans.preparing import prepare_scan

    console = Console(quiet, json=answer.wanted)
    console.placement(reading, scans.contract(contract), any(not file.is_dir() for file in files))
    config.check_frames(frames or config.frames)
    if config.in_chans != 1:
        raise InputError(f"expected a model with one channel, as a BOLD run has, found {config.in_chans}")
    done: list[dict[str, Any]] = []
    answer.add(clips=done)
    folders = {path.parent for path in (*outputs, *pictures) if path is not None and len(files) > 1}
    for file, mask, path, drawn in zip(files, masks, outputs, pictures, strict=True):
        with made_folders(folders), console.progress() as on_progress:
            made = prepare_scan(
                file,
                path,
                reading,
                size=config.img_size[:3],
                frames=config.frames if frames is None else frames,
                mask=mask,
                dtype=dtype,
                picture=drawn,
                warn=console.warning,
                on_progress=on_progress,
            )
        done.append({"path": str(made.path), "sidecar": str(made.sidecar), **made.facts})
        console.line(
            f"wrote {made.path}, {plural(made.shape[0], 'window')}, {dtype} ({', '.join(map(str, made.shape))})"
        )
        if made.picture:
            console.line(f"wrote {made.picture}, a picture for visual inspection")


def _model(weights: str | None, variant: str | None, quiet: bool) -> tuple[InputContract, SwiFTConfig]:
    """The input contract and the architecture of the clips' model; by default the published ones."""
    from swift_export.models.swift.variants import VARIANTS, find_variant

    if weights is not None:
        from swift_export.models.swift.weights import load_weights

        loaded = load_weights(weights, variant=variant, quiet=quiet)
        return loaded.contract, loaded.config
    if variant is not None:
        found = find_variant(variant)
        return found.contract, found.config
    published = next(iter(VARIANTS.values()))
    return contract_of(None, 1, None, ""), published.config
