"""The commands and the options before them."""

from __future__ import annotations

from typing import Annotated

import typer

from swift_export._version import __version__
from swift_export.cli import (
    benching,
    checking,
    converting,
    exporting,
    extracting,
    inspecting,
    layout,
    modelling,
    models,
    preparing,
    probing,
    quantizing,
    run_command,
    runtimes,
    serve_command,
)
from swift_export.cli.epilog import examples
from swift_export.cli.help import App

__all__ = ["app"]

app = App(
    help="Export JAX models, first of all SwiFT, the 4D Swin transformer for fMRI, to StableHLO, SavedModel and ONNX, "
    "each checked against the model in JAX.",
    epilog=examples(
        "swift-export onnx --weights model.ckpt --variant contrastive",
        "swift-export all --variant contrastive --weights synthetic",
        "swift-export model resnet.py:make --input x=float32[batch,3,224,224] -o artifacts/resnet",
        "swift-export check artifacts/contrastive --input scan.nii.gz",
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"swift-export {__version__}")
        raise typer.Exit


@app.callback()
def _before_commands(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


for group in (
    exporting,
    modelling,
    converting,
    checking,
    benching,
    quantizing,
    preparing,
    run_command,
    extracting,
    probing,
    serve_command,
    inspecting,
    layout,
    models,
    runtimes,
):
    group.register(app)
