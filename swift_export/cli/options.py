"""Options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from swift_export.cli.lists import REPEATED, SEVERAL

__all__ = [
    "Attention",
    "Batch",
    "Device",
    "ExportPrecision",
    "Force",
    "Frames",
    "Head",
    "Inputs",
    "IoDtype",
    "ModelPrecision",
    "NoCheck",
    "Opset",
    "Output",
    "OutputKind",
    "Outputs",
    "Quiet",
    "RuntimeDevice",
    "RuntimeName",
    "Stride",
    "Target",
    "Variant",
    "Via",
    "Weights",
    "Windows",
    "WindowsTogether",
    "runtime_names",
]


def runtime_names() -> list[str]:
    """The names of all runtimes that read artifacts."""
    from swift_export.runtimes.registry import RUNTIMES

    return [runtime.name for runtime in RUNTIMES.values() if runtime.reads]


def _variants() -> list[str]:
    from swift_export.models.swift.variants import VARIANTS

    return list(VARIANTS)


_MODEL, _FUNCTION, _CHECK, _WINDOWS, _RUNTIME = "Model", "Exported function", "Check", "Windows", "Runtime"

Weights = Annotated[
    str,
    typer.Option(
        metavar="auto|PATH|HUB-ID|synthetic[:SEED]",
        help="A checkpoint, a bundle folder or a hub id. auto: the published weights of --variant, cached or "
        "downloaded, and verified. synthetic: random numbers, for trials.",
        rich_help_panel=_MODEL,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published model (see swift-export variants). A checkpoint with another architecture is an error.",
        autocompletion=_variants,
        rich_help_panel=_MODEL,
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(metavar="N", help="Frames per clip; default: the model's.", rich_help_panel=_FUNCTION),
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
    Literal["features", "embedding", "logits"] | None,
    typer.Option(
        help="features: the map of the last stage. embedding: its mean over tokens, the input of downstream heads. "
        "logits: the output of the checkpoint's head.",
        show_default="features",
        rich_help_panel=_FUNCTION,
    ),
]
Head = Annotated[
    Path | None,
    typer.Option(
        metavar="PROBE",
        help="A probe by swift-export probe fit, to use as the head; the output is logits.",
        rich_help_panel=_FUNCTION,
    ),
]
Windows = Annotated[
    str, typer.Option(metavar="all|N", help="Number of windows of each scan.", rich_help_panel=_WINDOWS)
]
Stride = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Frames between the starts of consecutive windows.",
        show_default="no overlap",
        rich_help_panel=_WINDOWS,
    ),
]
RuntimeName = Annotated[
    Literal["onnxruntime", "openvino", "tensorflow", "jax"] | None,
    typer.Option(help="The runtime.", show_default="the artifact's, ONNX first", rich_help_panel=_RUNTIME),
]
RuntimeDevice = Annotated[
    Literal["cpu", "gpu"], typer.Option(help="The device of the runtime.", rich_help_panel=_RUNTIME)
]
WindowsTogether = Annotated[int, typer.Option(metavar="N", help="Windows in a batch.", rich_help_panel=_RUNTIME)]
Opset = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="ONNX opset, 18 to 26. ONNX Runtime 1.20 reads up to 21. From 23 on, attention is one operator.",
        rich_help_panel=_FUNCTION,
    ),
]
Target = Annotated[
    Literal["portable", "onnxruntime"],
    typer.Option(
        help="portable: only standard ONNX operators. onnxruntime: also ONNX Runtime's own, which are faster there.",
        rich_help_panel=_FUNCTION,
    ),
]
Attention = Annotated[
    Literal["auto", "masked"],
    typer.Option(
        help="auto: omit the mask in shifted blocks where the weights prove that it has no effect, which is faster. "
        "masked: keep all masks.",
        rich_help_panel=_FUNCTION,
    ),
]
ExportPrecision = Annotated[
    Literal["float32", "float16", "bfloat16", "mixed"],
    typer.Option(
        "--precision",
        help="Of weights and arithmetic; statistics and softmax stay float32. float16: half the size. bfloat16: less "
        "exact, for GPUs. mixed: float16 products, the sums between them in float32.",
        rich_help_panel=_FUNCTION,
    ),
]
ModelPrecision = Annotated[
    Literal["float32", "float16", "bfloat16"],
    typer.Option(
        "--precision",
        help="Of weights, and of what the model computes from them. Inputs and outputs keep their types.",
        rich_help_panel=_FUNCTION,
    ),
]
IoDtype = Annotated[
    Literal["float32", "float16"],
    typer.Option(help="Element type of inputs and outputs.", rich_help_panel=_FUNCTION),
]
Via = Annotated[
    Literal["stablehlo", "savedmodel"],
    typer.Option(
        help="How ONNX is made: directly from StableHLO, or through jax2tf, a SavedModel and tf2onnx.",
        rich_help_panel=_FUNCTION,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="The artifact folder.", show_default="artifacts/VARIANT"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an artifact of other weights in the output folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]

NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Skip the comparison with the reference.", rich_help_panel=_CHECK)
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
Device = Annotated[Literal["cpu", "gpu"], typer.Option(help="The device of the runtimes.", rich_help_panel=_CHECK)]
