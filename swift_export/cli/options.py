"""The options that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from swift_export.cli.lists import REPEATED, SEVERAL

__all__ = [
    "Attention",
    "Batch",
    "Device",
    "Force",
    "Frames",
    "Inputs",
    "NoCheck",
    "Opset",
    "Output",
    "OutputKind",
    "Outputs",
    "Quiet",
    "Target",
    "Variant",
    "Via",
    "Weights",
]


def _variants() -> list[str]:
    from swift_export.models.swift.variants import VARIANTS

    return list(VARIANTS)


_MODEL, _FUNCTION, _CHECK = "Model", "Exported function", "Check"

Weights = Annotated[
    str,
    typer.Option(
        metavar="auto|PATH|HUB-ID|synthetic[:SEED]",
        help="A checkpoint, a bundle folder, a hub id; auto: the published weights of --variant, from the cache or "
        "downloaded and verified; synthetic: random numbers, to try everything out.",
        rich_help_panel=_MODEL,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published model (see swift-export variants). A checkpoint of another architecture is an error.",
        autocompletion=_variants,
        rich_help_panel=_MODEL,
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(metavar="N", help="Frames of a clip; default: as many as the model takes.", rich_help_panel=_FUNCTION),
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", help="Fix the batch size; default: dynamic.", rich_help_panel=_FUNCTION),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help=f"features, and stage0, stage1, ... for the maps after each stage. {SEVERAL}",
        show_default="features",
        rich_help_panel=_FUNCTION,
    ),
]
OutputKind = Annotated[
    Literal["features", "embedding"],
    typer.Option(
        help="embedding: the mean over tokens, the vector that the downstream heads take.",
        rich_help_panel=_FUNCTION,
    ),
]
Opset = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="ONNX opset, 18 to 26; ONNX Runtime 1.20 reads up to 21. 23 has attention as one operator.",
        rich_help_panel=_FUNCTION,
    ),
]
Target = Annotated[
    Literal["portable", "onnxruntime"],
    typer.Option(
        help="portable: standard ONNX operators only. onnxruntime: also ONNX Runtime's own, which it runs faster.",
        rich_help_panel=_FUNCTION,
    ),
]
Attention = Annotated[
    Literal["auto", "masked"],
    typer.Option(
        help="auto: no mask in shifted blocks whose weights prove that it cannot be seen, which is faster. "
        "masked: the mask in all of them.",
        rich_help_panel=_FUNCTION,
    ),
]
Via = Annotated[
    Literal["stablehlo", "savedmodel"],
    typer.Option(
        help="The road to ONNX: straight from StableHLO, or through jax2tf's SavedModel and tf2onnx.",
        rich_help_panel=_FUNCTION,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where the artifact goes.", show_default="artifacts/VARIANT"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an artifact of other weights in the output folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]

NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Do not run the files against the reference.", rich_help_panel=_CHECK)
]
Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        metavar="FILE",
        help=f"Also check on this 4D NIfTI run, folder of frame_N.pt or .npy clip. {REPEATED}",
        rich_help_panel=_CHECK,
    ),
]
Device = Annotated[
    Literal["cpu", "gpu"], typer.Option(help="Where the artifacts' runtimes compute.", rich_help_panel=_CHECK)
]
