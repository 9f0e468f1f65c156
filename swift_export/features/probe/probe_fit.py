"""From two tables to a probe: its file, a JSON file with its scores beside it, and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from swift_export._version import __version__
from swift_export.errors import InputError, UsageError
from swift_export.features.probe.embeddings import Embeddings, read_embeddings, sidecar_of
from swift_export.features.probe.fitting import Fitted, check_numbers, fit
from swift_export.features.probe.samples import Samples, join, read_labels
from swift_export.features.probe.scores import MAIN, chance
from swift_export.features.probe.tsv_rows import TsvRows
from swift_export.formats.probe_file import Probe, write_probe
from swift_export.system.files import check_output, replaced
from swift_export.system.progress import Progress, ignore_line

__all__ = ["ProbeResult", "fit_probe"]


@dataclass(frozen=True)
class ProbeResult:
    """The written files, and what the JSON file states."""

    path: Path
    sidecar: Path
    picture: Path | None
    samples: Samples
    fitted: Fitted
    facts: Mapping[str, Any]


def fit_probe(
    features: str | Path,
    labels: str | Path,
    target: str,
    output: str | Path,
    *,
    kind: str | None = None,
    folds: int = 5,
    seed: int = 0,
    permutations: int = 0,
    picture: str | Path | None = None,
    progress: Progress = ignore_line,
    warn: Callable[[str], None] = ignore_line,
) -> ProbeResult:
    """Fit a probe of a target to embeddings, and write it.

    Args:
        features: a table with ``participant_id`` and ``embedding_000``, ... in tab-separated values; rows are windows
            or scans.
        labels: a table with ``participant_id`` and the target, such as BIDS's ``participants.tsv``.
        target: the column of the target.
        output: the ``.safetensors`` file to write; a ``.json`` file beside it has the scores.
        kind: ``classification`` or ``regression``, by default what fits the target's values.
        folds: of the cross-validation that estimates the scores.
        seed: of the splits and permutations.
        permutations: for the p-value of the main score; 0 for none.
        picture: a ``.png`` file to draw.
        progress: called with a short text at each step.
        warn: called with a text that may change what the result means.

    Raises InputError for tables that cannot be read, do not belong together, or are too small; UsageError for values
    that are not allowed; MachineError if the disk is full.
    """
    features, labels, path = Path(features), Path(labels), Path(output)
    drawn = None if picture is None else Path(picture)
    check_numbers(folds, seed, permutations)
    beside = _outputs(path, drawn, (features, labels, sidecar_of(features)))
    progress(f"reading {labels.name}")
    known = read_labels(labels, target)
    progress(f"reading {features.name}")
    embeddings = read_embeddings(features)
    samples = join(embeddings, known, target, kind, f"{features} and {labels}")
    if "weights_sha256" not in embeddings.source:
        warn(
            f"{features}: no sidecar states which weights made it: an export with the probe cannot check that they fit"
        )
    fitted = fit(samples, folds=folds, seed=seed, permutations=permutations, progress=progress)
    probe = _probe(samples, fitted, embeddings)
    options = {"folds": folds, "seed": seed, "permutations": permutations}
    tables = {"features": embeddings.sha256, "labels": TsvRows.open(labels).sha256()}
    facts = _facts(samples, fitted, probe, options, tables, (features.name, labels.name))
    with replaced(path) as draft:
        write_probe(probe, draft)
    with replaced(beside) as draft:
        draft.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if drawn is not None:
        from swift_export.features.probe.probe_picture import draw_probe

        image = draw_probe(samples, fitted)
        with replaced(drawn) as draft:
            image.save(draft, format="PNG")
    return ProbeResult(path, beside, drawn, samples, fitted, facts)


def _outputs(path: Path, picture: Path | None, inputs: tuple[Path, ...]) -> Path:
    """The JSON file beside the probe; raises UsageError for files that cannot be written."""
    if path.suffix != ".safetensors":
        raise UsageError(f"--output {path}: expected a name that ends in .safetensors")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: expected a name that ends in .png")
    beside = path.with_suffix(".json")
    for source in inputs:
        for file in (path, beside, *([] if picture is None else [picture])):
            check_output(file, sources=source)
    return beside


def _probe(samples: Samples, fitted: Fitted, embeddings: Embeddings) -> Probe:
    arrays = {name: np.asarray(getattr(fitted.probe, name), np.float32) for name in ("weight", "bias", "mean", "scale")}
    if not all(np.isfinite(array).all() for array in arrays.values()) or not (arrays["scale"] > 0).all():
        raise InputError("the probe: expected embeddings within float32's range, found larger or smaller ones")
    return Probe(
        **arrays,
        kind=samples.kind,
        target=samples.target,
        classes=samples.classes,
        fitted_to=dict(embeddings.source),
        made_by={"swift-export": __version__, "scikit-learn": version("scikit-learn")},
    )


def _facts(
    samples: Samples,
    fitted: Fitted,
    probe: Probe,
    options: Mapping[str, int],
    tables: Mapping[str, str],
    names: tuple[str, str],
) -> dict[str, Any]:
    strength = "C" if samples.kind == "classification" else "alpha"
    return {
        "kind": samples.kind,
        "target": samples.target,
        "classes": samples.sizes,
        "counts": dict(samples.counts),
        "model": "logistic regression" if samples.kind == "classification" else "ridge regression",
        "regularisation": {"name": strength, "chosen": fitted.probe.strength, "folds": list(fitted.strengths)},
        "scores": {name: score.to_dict() for name, score in fitted.scores.items()},
        "chance": chance(samples),
        "main_score": MAIN[samples.kind],
        "p_value": fitted.p_value,
        "options": dict(options),
        "features": {"name": names[0], "sha256": tables["features"], "channels": int(probe.weight.shape[1])},
        "labels": {"name": names[1], "sha256": tables["labels"]},
        "fitted_to": dict(probe.fitted_to),
        "made_by": dict(probe.made_by),
    }
