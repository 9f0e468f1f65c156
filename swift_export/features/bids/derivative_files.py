"""The results of one scan in a folder of BIDS derivatives: a table, its JSON, and arrays if wanted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.errors import CheckFailed
from swift_export.features.bids.scan_table import ScanTable, Vector
from swift_export.features.bids.scan_task import Task
from swift_export.features.bids.tsv import tsv_text
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.disk import own_errors
from swift_export.system.files import replaced
from swift_export.system.locks import locked

__all__ = ["DESC", "ENDINGS", "WINDOW_COLUMNS", "channel_columns", "read_record", "table_place", "write_scan"]

#: The label of everything that is written, and the endings of tables.
DESC = "desc-swift"
ENDINGS: Mapping[Vector, str] = {"embedding": f"{DESC}_embeddings", "logits": f"{DESC}_logits"}

#: Columns before the vector's, with their description in the data set's JSON.
WINDOW_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "window": {"Description": "Number of the window, from 0"},
    "first_frame": {"Description": "First frame of the window, from 0, counted from the first frame of the run"},
    "onset": {"Description": "Start of the window after the start of the run's first frame", "Units": "s"},
    "duration": {"Description": "Duration of the window", "Units": "s"},
    "framewise_displacement_mean": {
        "Description": "Mean of the framewise displacement over the frames of the window",
        "Units": "mm",
    },
    "framewise_displacement_max": {
        "Description": "Largest framewise displacement among the frames of the window",
        "Units": "mm",
    },
}


def channel_columns(kind: Vector, channels: int) -> list[str]:
    """Columns of a vector: ``embedding_000`` and on."""
    width = max(3, len(str(channels - 1)))
    return [f"{kind}_{channel:0{width}}" for channel in range(channels)]


def table_place(output: Path, task: Task, kind: Vector = "embedding") -> Path:
    """Where the table of a scan is; its JSON has the suffix ``.json``."""
    return output / task.result(f"{ENDINGS[kind]}.tsv")


def write_scan(output: Path, table: ScanTable) -> Path:
    """Write a scan's table, arrays and JSON below ``output``; returns the JSON.

    Each file is replaced atomically. The JSON is removed first and written last: where it is, all files are of the same
    computation.

    Raises:
        CheckFailed: a value is not finite.
        UsageError: a file cannot be written there.
        MachineError: the disk is full.

    """
    task, kind = table.task, table.kind
    for values in (table.vectors, *table.arrays.values()):
        if not np.isfinite(values).all():
            count = int(np.count_nonzero(~np.isfinite(values)))
            raise CheckFailed(f"{task.scan}: expected finite features, found {count} that are not; check the artifact")
    place = table_place(output, task, kind)
    record = place.with_suffix(".json")
    rows = [
        [
            number,
            window.first_frame,
            window.onset,
            window.duration,
            window.fd_mean,
            window.fd_max,
            # As text: the shortest that is read back as the same float32.
            *map(str, vector),
        ]
        for number, (window, vector) in enumerate(zip(table.windows, table.vectors, strict=True))
    ]
    text = tsv_text([*WINDOW_COLUMNS, *channel_columns(kind, table.vectors.shape[1])], rows)
    with own_errors(place, place.parent), locked(place.parent):
        record.unlink(missing_ok=True)
        for name, values in table.arrays.items():
            _write_array(output / task.result(f"{DESC}_{_word(name)}.safetensors"), name, values)
        with replaced(place) as draft:
            draft.write_text(text, encoding="utf-8")
        with replaced(record) as draft:
            draft.write_text(json.dumps(_record(table), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return record


def read_record(output: Path, task: Task, kind: Vector = "embedding") -> dict[str, Any] | None:
    """What the JSON of a finished scan says; None if the scan is not finished."""
    place = table_place(output, task, kind)
    try:
        return read_sidecar(place.with_suffix(".json")) if place.is_file() else None
    except ValueError:
        return None


def _record(table: ScanTable) -> dict[str, Any]:
    onsets = [window.onset for window in table.windows]
    record: dict[str, Any] = {
        "Description": f"SwiFT {table.kind} of each window; columns are described in {ENDINGS[table.kind]}.json",
        "Sources": list(table.task.uris),
        "Placement": table.placement,
        "Mask": None if table.task.mask is None else table.task.mask.name,
        "RepetitionTime": table.task.repetition_time,
        "SHA256": dict(table.digests),
        "Windows": len(table.windows),
        "Provenance": dict(table.facts),
    }
    if onsets and onsets[0] is not None:
        record["StartTime"] = onsets[0]
        if len(onsets) > 1 and onsets[1] is not None:
            record["SamplingFrequency"] = 1 / (onsets[1] - onsets[0])
    return {key: value for key, value in record.items() if value is not None}


def _write_array(place: Path, name: str, values: np.ndarray) -> None:
    from safetensors.numpy import save

    with replaced(place) as draft:
        draft.write_bytes(save({name: np.ascontiguousarray(values)}))


def _word(name: str) -> str:
    """The name of an array as a BIDS suffix."""
    return re.sub("[^A-Za-z0-9]", "", name)
