"""``variants`` and ``bundle``: the published models, and weights as separate files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swift_export.cli import options
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples

__all__ = ["bundle", "register", "variants"]


def register(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(variants)
    app.command(
        epilog=examples(
            "swift-export bundle --weights model.ckpt --variant contrastive -o swift.contrastive.1",
            "swift-export onnx --weights swift.contrastive.1",
        )
    )(bundle)


def variants() -> None:
    """List the published models."""
    from swift_export.models.swift.variants import CITATION, LICENCE, UPSTREAM, VARIANTS

    console = Console()
    for variant in VARIANTS.values():
        c, *space, t = variant.config.input_shape()
        contract = variant.contract
        out, *grid, _ = variant.config.output_shape()
        facts = {
            "input": f"bold (batch, {c}, {', '.join(map(str, space))}, {t})",
            "output": f"features (batch, {out}, {', '.join(map(str, grid))}, {t})",
            "head": variant.head.text if variant.head else "none",
            "placement": f"{contract.placed().describe()}, {contract.orientation} ({contract.source})",
            "weights": f"{UPSTREAM.repository} @ {UPSTREAM.commit[:7]}, {variant.path}",
            "git blob": variant.git_blob,
            "sha256": variant.sha256 or "not published; the git blob id identifies the file",
            "hub": variant.hub_id or "none",
        }
        console.line(f"{variant.name}: {variant.summary}", style="bold")
        console.facts(facts, indent="  ")
    console.line(f"{LICENCE}. {CITATION}")


def bundle(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder for the bundle.")],
    weights: options.Weights = "auto",
    variant: options.Variant = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle in the output folder.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the weights as a bundle: model.safetensors, config.json and a model card."""
    from swift_export.models.swift.weights import load_weights, write_bundle

    console = Console(quiet)
    loaded = load_weights(weights, variant=variant, quiet=quiet)
    console.weights(loaded)
    write_bundle(loaded, output, force=force)
    console.line(f"wrote {output}")
