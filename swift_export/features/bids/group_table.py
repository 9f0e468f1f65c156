"""The group level: one table for each task and space, with one row for each scan."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError
from swift_export.features.bids.derivative_files import ENDINGS, WINDOW_COLUMNS, channel_columns
from swift_export.features.bids.entities import entities_of, joined
from swift_export.features.bids.preprocessed import names_in
from swift_export.features.bids.scan_table import Vector
from swift_export.features.bids.tsv import Tsv, read_tsv, tsv_text
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.disk import own_errors
from swift_export.system.files import replaced
from swift_export.system.locks import locked
from swift_export.system.text import listed, shown

__all__ = ["Origin", "ScanRow", "read_scans", "write_tables"]

#: What a table is of; scans that differ in these are in different tables.
_LABEL = ("task", "space", "cohort")
#: Entities that have no column: resolution follows from the space, and the participant has one of its own.
_NO_COLUMN = {*_LABEL, "sub", "res", "desc"}
_MEAN, _LARGEST = "framewise_displacement_mean", "framewise_displacement_max"


@dataclass(frozen=True)
class Origin:
    """What scans must share so that their vectors can be compared."""

    placement: str
    artifact: str
    weights: str = ""

    def __str__(self) -> str:
        return f"placement {shown(self.placement, 40)}, artifact {shown(self.artifact, 12)}"


@dataclass(frozen=True)
class ScanRow:
    """One scan.

    Attributes:
        entities: of its name, without ``desc``.
        windows: number of windows.
        fd_mean: mean of the framewise displacement over its windows, in mm; None if it is not known.
        fd_max: the largest one.
        mean: the mean of the windows' vectors.
        spread: standard deviation of the windows' vectors around their mean, as root mean square over channels.
        origin: what the values depend on.

    """

    entities: Mapping[str, str]
    windows: int
    fd_mean: float | None
    fd_max: float | None
    mean: Float32[np.ndarray, " channels"]
    spread: float | None
    origin: Origin

    @property
    def name(self) -> str:
        """The scan's name, as that of its `Task`."""
        return joined(self.entities)

    @property
    def participant(self) -> str:
        """The participant, ``sub-01``."""
        return f"sub-{self.entities['sub']}"

    @property
    def label(self) -> str:
        """The table that it belongs to, ``task-rest_space-MNI152NLin6Asym``; empty without both."""
        return joined({key: self.entities[key] for key in _LABEL if key in self.entities})


def read_scans(output: Path, kind: Vector = "embedding") -> list[ScanRow]:
    """All finished scans below ``output``, sorted by name.

    Raises InputError if a table is damaged, or if scans are of different artifacts or placements.
    """
    rows = sorted(_rows(output, kind), key=lambda row: row.name)
    if not rows:
        raise InputError(
            f"{output}: expected finished scans, */func/*_{ENDINGS[kind]}.tsv, found none; run the level participant"
        )
    by_origin: dict[tuple[Origin, int], list[str]] = {}
    for row in rows:
        by_origin.setdefault((row.origin, row.mean.size), []).append(row.name)
    if len(by_origin) > 1:
        found = [f"{len(names)} with {origin} ({names[0]})" for (origin, _), names in by_origin.items()]
        raise InputError(
            f"{output}: expected all scans with one artifact and placement, found {listed(found, 4)}; run the level "
            "participant again on the others, or remove their files"
        )
    return rows


def write_tables(output: Path, rows: Sequence[ScanRow], kind: Vector = "embedding") -> list[Path]:
    """Write a table for each label, with its JSON; tables of earlier calls that have no scans any more are removed."""
    groups: dict[str, list[ScanRow]] = {}
    for row in rows:
        groups.setdefault(row.label, []).append(row)
    written = []
    with own_errors(output), locked(output):
        for label, group in sorted(groups.items()):
            place = output / f"{'_'.join(filter(None, ('group', label, ENDINGS[kind])))}.tsv"
            columns, lines = _table(group, kind)
            with replaced(place) as draft:
                draft.write_text(tsv_text(columns, lines), encoding="utf-8")
            with replaced(place.with_suffix(".json")) as draft:
                draft.write_text(json.dumps(_described(columns, group, kind), indent=2) + "\n", encoding="utf-8")
            written.append(place)
        stale = re.compile(rf"group(_[a-z]+-[A-Za-z0-9+]+)*_{ENDINGS[kind]}\.(tsv|json)")
        for name in names_in(output):
            if stale.fullmatch(name) and output / Path(name).with_suffix(".tsv") not in written:
                (output / name).unlink(missing_ok=True)
    return written


def _rows(output: Path, kind: Vector) -> Iterator[ScanRow]:
    ending = f"_{ENDINGS[kind]}.tsv"
    for participant in names_in(output):
        folder = output / participant
        if not participant.startswith("sub-") or not folder.is_dir():
            continue
        sessions = [folder / name for name in names_in(folder) if name.startswith("ses-")]
        for func in (place / "func" for place in (folder, *sessions)):
            for name in names_in(func) if func.is_dir() else ():
                entities = entities_of(name) if name.endswith(ending) else None
                # Without its JSON, the table is that of an interrupted computation.
                if entities and "sub" in entities and (func / name).with_suffix(".json").is_file():
                    yield _row(func / name, entities, kind)


def _row(path: Path, entities: Mapping[str, str], kind: Vector) -> ScanRow:
    table = read_tsv(path)
    vectors = _vectors(table, kind)
    try:
        record = read_sidecar(path.with_suffix(".json"))
    except ValueError as error:
        raise InputError(f"{path.with_suffix('.json')}: expected a JSON object, found: {shown(error, 200)}") from None
    digests = record.get("SHA256")
    artifact, weights = (digests.get(name, "") if isinstance(digests, dict) else "" for name in ("Artifact", "Weights"))
    motion = [[value for value in table.numbers(column) if value is not None] for column in (_MEAN, _LARGEST)]
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(vectors.var(axis=0, dtype=np.float64, ddof=1).mean())) if len(vectors) > 1 else None
    return ScanRow(
        {key: value for key, value in entities.items() if key != "desc"},
        len(vectors),
        math.fsum(motion[0]) / len(motion[0]) if motion[0] else None,
        max(motion[1], default=None),
        mean.astype(np.float32),
        spread,
        Origin(str(record.get("Placement", "")), str(artifact), str(weights)),
    )


def _vectors(table: Tsv, kind: Vector) -> Float32[np.ndarray, "windows channels"]:
    first = len(WINDOW_COLUMNS)
    expected = (*WINDOW_COLUMNS, *channel_columns(kind, max(len(table.columns) - first, 1)))
    if table.columns != expected or not table.cells:
        found = "other columns" if table.cells else "no rows"
        raise InputError(f"{table.path}: expected a table of {kind} by swift-export, found {found}; compute it again")
    try:
        vectors = np.array([row[first:] for row in table.cells]).astype(np.float32)
    except ValueError:
        vectors = np.full((1, 1), np.nan, np.float32)
    if not np.isfinite(vectors).all():
        raise InputError(f"{table.path}: expected finite numbers, found others; compute it again")
    return vectors


def _table(group: Sequence[ScanRow], kind: Vector) -> tuple[list[str], list[list[str | int | float | None]]]:
    keys = list(dict.fromkeys(key for row in group for key in row.entities if key not in _NO_COLUMN))
    columns = ["participant_id", *("session_id" if key == "ses" else key for key in keys)]
    columns += ["scan", "windows", _MEAN, _LARGEST, "window_deviation", *channel_columns(kind, group[0].mean.size)]
    lines: list[list[str | int | float | None]] = []
    for row in group:
        session = {**row.entities, **({"ses": f"ses-{row.entities['ses']}"} if "ses" in row.entities else {})}
        labels = [session.get(key) for key in keys]
        numbers = (row.windows, row.fd_mean, row.fd_max, row.spread)
        lines.append([row.participant, *labels, row.name, *numbers, *map(str, row.mean)])
    return columns, lines


def _described(columns: Sequence[str], group: Sequence[ScanRow], kind: Vector) -> dict[str, Any]:
    known = {
        "participant_id": "Participant",
        "session_id": "Session",
        "scan": "Name of the scan",
        "windows": "Number of windows of the scan",
        _MEAN: "Mean of the framewise displacement over the windows, in mm",
        _LARGEST: "Largest framewise displacement in a window, in mm",
        "window_deviation": "Standard deviation of the windows around their mean, root mean square over channels",
    }
    channels = set(channel_columns(kind, group[0].mean.size))
    described = {c: f"Mean of {c} over the windows" if c in channels else known.get(c, f"Entity {c}") for c in columns}
    origin = group[0].origin
    digests = {"Artifact": origin.artifact, "Weights": origin.weights}
    return {
        "Description": f"One row for each scan: the mean of its windows' {kind}",
        "Placement": origin.placement,
        "SHA256": {name: digest for name, digest in digests.items() if digest},
        **{column: {"Description": text} for column, text in described.items()},
    }
