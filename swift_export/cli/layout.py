"""``layout``: a folder for another server, with its configuration and a smoke test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, file_facts, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples

__all__ = ["layout", "register"]

_SERVER = "Server"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export layout triton artifacts/contrastive -o triton/",
            "swift-export layout tfserving artifacts/contrastive -o tfserving/ --max-batch 8",
            "swift-export layout kserve artifacts/hcp-sex -o kserve/ --name sex-classifier",
        )
    )(layout)


@json_option("layout")
def layout(
    server: Annotated[
        Literal["triton", "tfserving", "kserve", "ovms"],
        typer.Argument(
            metavar="SERVER",
            help="triton: NVIDIA Triton. tfserving: TensorFlow Serving, of a SavedModel. kserve: KServe on Kubernetes. "
            "ovms: OpenVINO Model Server.",
            show_default=False,
        ),
    ],
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact folder.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write, new or empty.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model's name in the server.",
            show_default="the artifact's",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(
            metavar="N", help="Most items in a batch. Needs an artifact of any batch size.", rich_help_panel=_SERVER
        ),
    ] = 4,
    batch_wait_ms: Annotated[
        float,
        typer.Option(metavar="MS", help="How long a request waits for others to join it.", rich_help_panel=_SERVER),
    ] = 5.0,
    instances: Annotated[
        int, typer.Option(metavar="N", help="Batches computed at the same time.", rich_help_panel=_SERVER)
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing layout.")] = False,
    quiet: options.Quiet = False,
    *,
    answer: Answer,
) -> None:
    """Write a folder for another server: model, configuration, README, and a smoke test with known outputs."""
    from swift_export.serving.layouts.layout_folder import write_layout
    from swift_export.serving.layouts.servable import Batching

    console = Console(quiet, json=answer.wanted)
    with console.progress() as on_progress:
        written = write_layout(
            server,
            artifact,
            output,
            name=name,
            batching=Batching(max_batch, batch_wait_ms),
            instances=instances,
            force=force,
            progress=on_progress,
        )
    servable = written.servable
    if note := servable.manifest.weights.note:
        console.warning(f"{artifact}: {note}")
    if servable.apart:
        console.line(f"requests are not combined: {servable.apart}")
    if answer.wanted:
        answer.add(folder=str(output), layout=server, model=servable.name, files=file_facts(output))
    console.line(f"wrote {output} for {written.layout.title}; see {output / 'README.md'}")
