"""``serve``: artifacts behind the Open Inference Protocol."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swift_export.cli import options
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra
from swift_export.cli.lists import REPEATED

if TYPE_CHECKING:
    from swift_export.serving.repository import Repository

__all__ = ["register", "serve"]

_ACCESS, _COMPUTING, _LIMITS = "Access", "Computing", "Limits"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export serve artifacts/contrastive",
            "swift-export serve artifacts/contrastive artifacts/hcp-sex --port 9000 --runtime openvino",
            "swift-export serve artifacts/contrastive --host 0.0.0.0 --token-file token --port 80",
        )
    )(serve)


def serve(
    artifacts: Annotated[
        list[Path],
        typer.Argument(metavar="ARTIFACT...", help="Artifact folders, or .onnx files.", show_default=False),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"The model's name for clients, one for each artifact, in order. {REPEATED}",
            show_default="that of the folder or file",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen on. Other machines reach 0.0.0.0, which therefore needs a token.",
            rich_help_panel=_ACCESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="The port; 0: any free one.", rich_help_panel=_ACCESS)] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Serve over gRPC, too, on this port (Triton's is 8001); 0: any free one.",
            show_default="HTTP alone",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    shared_memory: Annotated[
        bool,
        typer.Option(
            "--shared-memory",
            help="Let clients on this machine send and receive tensors in shared memory, as in Triton. Needs a token.",
            rich_help_panel=_ACCESS,
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the token that clients send as Authorization: Bearer TOKEN.",
            show_default="SWIFT_EXPORT_TOKEN of the environment",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    no_token: Annotated[
        bool,
        typer.Option(
            "--no-token",
            help="Let other machines use the server, or clients use shared memory, without a token.",
            rich_help_panel=_ACCESS,
        ),
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The certificate for HTTPS, with its chain, PEM.", rich_help_panel=_ACCESS),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key of the certificate, PEM.", rich_help_panel=_ACCESS)
    ] = None,
    runtime: Annotated[
        Literal["onnxruntime", "openvino"], typer.Option(help="The runtime.", rich_help_panel=_COMPUTING)
    ] = "onnxruntime",
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Threads of each model.", show_default="one per processor", rich_help_panel=_COMPUTING
        ),
    ] = None,
    instances: Annotated[
        int,
        typer.Option(
            metavar="N",
            help=(
                "How many requests of a model are computed at the same time, each on its share of the threads. With "
                "many clients that is faster; each request takes longer, and memory grows."
            ),
            rich_help_panel=_COMPUTING,
        ),
    ] = 1,
    batching: Annotated[
        Literal["auto", "on", "off"],
        typer.Option(
            help="Compute concurrent requests together. auto: if that is faster, measured when a model is loaded.",
            rich_help_panel=_COMPUTING,
        ),
    ] = "auto",
    batch_wait_ms: Annotated[
        float,
        typer.Option(
            metavar="MS",
            help="How long a request waits for others to be computed with. 0: only for those that are there already.",
            rich_help_panel=_COMPUTING,
        ),
    ] = 0.0,
    max_batch: Annotated[
        int,
        typer.Option(
            metavar="N", help="Most items of one request, and of a batch of several.", rich_help_panel=_LIMITS
        ),
    ] = 8,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Most requests of a model at the same time; further ones are told to try again later (429).",
            rich_help_panel=_LIMITS,
        ),
    ] = 16,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Most seconds for receiving a request, and then for its result.",
            rich_help_panel=_LIMITS,
        ),
    ] = 60.0,
    scan_queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Most scans that wait while one is computed; further ones are told to try again later.",
            rich_help_panel=_LIMITS,
        ),
    ] = 4,
    scan_limit: Annotated[
        float,
        typer.Option(metavar="MIB", help="The largest upload of a scan.", rich_help_panel=_LIMITS),
    ] = 2048.0,
    scan_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Most seconds for receiving and computing a scan.", rich_help_panel=_LIMITS
        ),
    ] = 600.0,
    no_check: Annotated[
        bool,
        typer.Option("--no-check", help="Load models without comparing them with their golden outputs."),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Serve models over HTTP and gRPC, by the Open Inference Protocol v2, until SIGTERM or Ctrl-C.

    A model is loaded again when its artifact changes. Events are written to stderr, one line of JSON each.
    """
    need_extra("serve", "the server")
    if runtime == "openvino":
        need_extra("openvino", "--runtime openvino")
    from swift_export.serving.serve_log import ServeLog
    from swift_export.serving.server import serve as run_server

    console = Console(quiet)

    def say(address: str, repository: Repository) -> None:
        for model in repository.models.values():
            console.line(f"serving {model.name} {model.version} at {address}/v2/models/{model.name}")
        sys.stdout.flush()

    run_server(
        artifacts,
        names=name or (),
        host=host,
        port=port,
        grpc_port=grpc_port,
        shared_memory=shared_memory,
        token_file=token_file,
        log=ServeLog(quiet=quiet),
        no_token=no_token,
        tls_cert=tls_cert,
        tls_key=tls_key,
        runtime=runtime,
        threads=threads,
        instances=instances,
        max_batch=max_batch,
        batching=batching,
        batch_wait_s=batch_wait_ms / 1000,
        queue=queue,
        timeout_s=timeout,
        scan_queue=scan_queue,
        scan_bytes=round(scan_limit * 2**20),
        scan_timeout_s=scan_timeout,
        golden=not no_check,
        on_ready=say,
    )
