"""``probe fit``: fits a linear probe to embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra
from swift_export.cli.help import App

__all__ = ["fit", "register"]

_METHOD = "Method"


def register(app: typer.Typer) -> None:
    """Register the commands of this module."""
    probes = App(help="Fit linear probes to embeddings.")
    probes.callback()(lambda: None)  # or the only command would lose its name
    probes.command(
        epilog=examples(
            "swift-export probe fit embeddings.tsv participants.tsv --target sex -o sex.safetensors",
            "swift-export probe fit embeddings.tsv participants.tsv --target age -o age.safetensors --picture age.png",
            "swift-export onnx --variant contrastive --head sex.safetensors -o artifacts/sex",
        )
    )(fit)
    app.add_typer(probes, name="probe")


@json_option("probe fit")
def fit(
    features: Annotated[
        Path,
        typer.Argument(
            metavar="FEATURES.tsv",
            help="Embeddings, one row per window or scan: participant_id, embedding_000, embedding_001, ...",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS.tsv",
            help="participant_id and the target, such as the participants.tsv of BIDS; n/a is missing.",
            show_default=False,
        ),
    ],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column of LABELS.tsv to predict.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PROBE.safetensors", help="The file to write; a .json beside it has the scores."
        ),
    ],
    kind: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option(
            help="Logistic or ridge regression.", show_default="what fits the values", rich_help_panel=_METHOD
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(metavar="N", help="Folds of the cross-validation.", rich_help_panel=_METHOD)
    ] = 5,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of splits and permutations.", rich_help_panel=_METHOD)
    ] = 0,
    permutations: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Repeat the cross-validation with N permutations of the target, for a p-value.",
            rich_help_panel=_METHOD,
        ),
    ] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also draw the predictions for held-out participants and the scores."),
    ] = None,
    quiet: options.Quiet = False,
    *,
    answer: Answer,
) -> None:
    """Fit a linear probe, and estimate its scores on other participants by nested cross-validation."""
    need_extra("probe", "a probe")
    from swift_export.features.probe.probe_fit import fit_probe
    from swift_export.features.probe.scores import NAMES, chance

    console = Console(quiet, json=answer.wanted)
    with console.progress() as on_progress:
        made = fit_probe(
            features,
            labels,
            target,
            output,
            kind=kind,
            folds=folds,
            seed=seed,
            permutations=permutations,
            picture=picture,
            progress=on_progress,
            warn=console.warning,
        )
    samples, fitted, counts = made.samples, made.fitted, made.samples.counts
    groups = f", {', '.join(f'{size} {name}' for name, size in samples.sizes.items())}" if samples.classes else ""
    console.facts(
        {
            samples.kind: f"{samples.target}{groups}",
            "participants": f"{counts['participants']} with {counts['rows']} rows",
            "left out": f"{counts['without_target']} participants without a value, {counts['without_label']} without a "
            f"label, {counts['without_embedding']} without an embedding; {counts['rows_without_embedding']} rows",
        }
    )
    baseline = chance(samples)
    console.table(
        ["score", "mean", "sd", "without embeddings"],
        [
            [NAMES[name], f"{score.mean:.3f}", f"{score.deviation:.3f}", f"{baseline[name]:.3f}"]
            for name, score in fitted.scores.items()
        ],
    )
    if fitted.p_value is not None:
        console.line(f"p = {fitted.p_value:.3g} by {permutations} permutations")
    answer.add(
        probe=str(made.path),
        sidecar=str(made.sidecar),
        picture=None if made.picture is None else str(made.picture),
        result=made.facts,
    )
    for path in (made.path, made.sidecar, *([made.picture] if made.picture else [])):
        console.line(f"wrote {path}")
