"""The answers to a scan: JSON, a table, or a file of arrays, with the content that ``swift-export run`` writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from swift_export.errors import UsageError
from swift_export.features.extractor import Extractor
from swift_export.features.feature_files import encode_features, provenance
from swift_export.features.output_kinds import OutputKind, as_kind
from swift_export.features.pipeline import ScanFeatures
from swift_export.serving.scan_view import view_of
from swift_export.serving.scan_work import ScanWork
from swift_export.system.text import listed, shown

__all__ = ["EVENTS", "FORMATS", "AnswerFormat", "answer_bytes", "answer_format"]

AnswerFormat = Literal["json", "tsv", "safetensors"]

#: The formats by name, and their media types.
FORMATS: dict[AnswerFormat, str] = {
    "json": "application/json",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "safetensors": "application/octet-stream",
}
#: The media type of an answer in lines of JSON: the progress, and last the result.
EVENTS = "application/x-ndjson"


def answer_format(name: str | None, accept: str) -> AnswerFormat:
    """The format of this name, by default the first in an ``Accept`` header, else JSON.

    Raises UsageError for another name.
    """
    if name is None:
        accepted = [entry.partition(";")[0].strip().lower() for entry in accept.split(",")]
        types = {media.partition(";")[0]: known for known, media in FORMATS.items()}
        return next((types[entry] for entry in accepted if entry in types), "json")
    for known in FORMATS:
        if name == known:
            return known
    raise UsageError(f"format: expected one of {listed(FORMATS)}, found {shown(name)}")


def answer_bytes(
    form: AnswerFormat, work: ScanWork, found: ScanFeatures, extractor: Extractor, warnings: Sequence[str], view: bool
) -> bytes:
    """The answer, while the scan is open; with ``view``, JSON also has the files and the slices for the page.

    Raises UsageError for a table of anything but vectors.
    """
    kind, facts = work.asked.kind, provenance(found, extractor, work.asked.kind, False)
    facts["file"] = work.scan.name
    if work.mask is not None:
        facts["mask"] = work.mask.name
    facts["warnings"] = [work.renamed(line) for line in warnings]
    if form != "json":
        return encode_features(f".{form}", found.values, kind, facts, pool=False)
    answer = _described(work, found.values, kind, facts)
    if view:
        arrays = encode_features(".safetensors", found.values, kind, facts, pool=False)
        vectors, name = _vectors(found.values, kind)
        table = encode_features(".tsv", vectors, name, {**facts, "output_kind": name}, pool=False)
        answer["files"] = {"tsv": table.decode(), "safetensors": base64.b64encode(arrays).decode("ascii")}
        answer["view"] = view_of(found.source)
    return json.dumps(answer, allow_nan=False).encode()


def _described(work: ScanWork, values: np.ndarray, kind: OutputKind, facts: dict[str, Any]) -> dict[str, Any]:
    vectors, name = _vectors(values, kind)
    model, backbone = work.by.model, work.by.backbone
    dropped, resampled = facts["drop_frames"][0], facts.get("resample_tr") is not None
    windows = [
        # After resampling, a window begins between two frames of the file.
        {"first_frame": None if resampled else dropped + start, "onset": onset, name: _numbers(vector)}
        for start, onset, vector in zip(facts["starts"], facts["onsets"], vectors, strict=True)
    ]
    synthetic = ["the model's weights are synthetic: the features mean nothing"] if backbone.synthetic else []
    return {
        "model": model.name,
        "version": model.version,
        "file": facts["file"],
        "sha256": facts["file_sha256"],
        "mask": facts["mask"],
        "placement": facts["placement"],
        "warnings": [*synthetic, *facts["warnings"]],
        "vectors": name,
        "windows": windows,
        "mean": _numbers(vectors.mean(axis=0, dtype=np.float64).astype(np.float32)),
        "std": _numbers(vectors.std(axis=0, dtype=np.float64).astype(np.float32)),
        "versions": facts["versions"],
        "provenance": facts,
    }


def _vectors(values: np.ndarray, kind: OutputKind) -> tuple[np.ndarray, OutputKind]:
    """One vector for each window, and its name: of features and tokens, the embedding."""
    if kind == "features":
        return as_kind(values, "features", "embedding"), "embedding"
    if kind == "tokens":
        return values.mean(axis=1, dtype=np.float64).astype(np.float32), "embedding"
    return values.reshape(len(values), -1), kind


def _numbers(vector: np.ndarray) -> list[float]:
    """The shortest decimals that are read back as the same float32."""
    return [float(str(value)) for value in vector]
