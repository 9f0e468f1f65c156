"""Reads a table of embeddings, one row per window or scan, as one mean embedding per participant.

A probe is linear: the mean of the outputs for a participant's windows, which is the participant's score, is the output
for the mean of the embeddings. So one row per participant loses nothing, every participant counts once, and no two
windows of one participant can lie on both sides of a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from swift_export.errors import InputError, UsageError
from swift_export.features.probe.tsv_rows import MISSING, PARTICIPANT, TsvRows, participant
from swift_export.scans.placement import parse_placement
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.text import listed, shown

__all__ = ["Embeddings", "read_embeddings", "sidecar_of"]

_COLUMN = re.compile(r"embedding_(\d+)")
#: Columns of a table that tell from which artifact a row comes.
_SOURCES = ("weights_sha256", "artifact_sha256", "placement")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The mean embedding of each participant.

    Attributes:
        participants: labels without ``sub-``, in the order of their first rows.
        means: float64. Rows that stand for several windows, by a column ``windows``, count as many times.
        rows: number of rows per participant.
        missing: number of rows without an embedding, which are left out.
        source: what the table's sidecar and columns state about the model: ``weights_sha256``, ``artifact_sha256`` and
            ``placement``, as far as known.
        sha256: the digest of the table.

    """

    participants: tuple[str, ...]
    means: Float64[np.ndarray, "participants channels"]
    rows: tuple[int, ...]
    missing: int
    source: Mapping[str, str]
    sha256: str


@dataclass
class _Sum:
    total: Float64[np.ndarray, " channels"]
    windows: int
    rows: int = 1


@dataclass
class _Sources:
    """What is stated about the model; a second statement must agree."""

    path: Path
    known: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        if name == "placement":
            try:
                value = parse_placement(value).name
            except UsageError:
                return
        before = self.known.setdefault(name, value)
        if before != value:
            raise InputError(
                f"{self.path}: expected embeddings of one model, found {name} {shown(before, 20)} and "
                f"{shown(value, 20)}; fit one probe per model"
            )


def sidecar_of(path: Path) -> Path:
    """The JSON beside a table."""
    return path.with_suffix(".json")


def read_embeddings(path: Path) -> Embeddings:
    """Read ``embedding_000`` and so on from a table.

    Of a pooled table, with a column ``statistic``, only the rows ``mean`` are embeddings. Raises InputError for a table
    without these columns or with gaps among them, for values that are no finite numbers, and for rows of different
    models.
    """
    table = TsvRows.open(path)
    places = _places(table)
    sources = _Sources(path)
    for name, value in _stated(_sidecar(path)):
        sources.add(name, value)
    stating = [(name, table.columns.index(name)) for name in _SOURCES if name in table.columns]
    who, statistic, windows = (
        table.columns.index(name) if name in table.columns else None for name in (PARTICIPANT, "statistic", "windows")
    )
    assert who is not None, "checked when it was opened"
    first, last = places[0], places[-1] + 1
    together = places == list(range(first, last))
    sums: dict[str, _Sum] = {}
    missing = 0
    for number, fields in table.rows():
        if statistic is not None and fields[statistic] != "mean":
            continue
        values = fields[first:last] if together else [fields[place] for place in places]
        if not MISSING.isdisjoint(values):
            missing += 1
            continue
        embedding = _numbers(values, path, number)
        for name, place in stating:
            if fields[place] not in MISSING:
                sources.add(name, fields[place])
        label = participant(fields[who])
        if label in MISSING:
            raise InputError(f"{path}: line {number}: expected a {PARTICIPANT}, found none; fill in the column")
        count = 1 if windows is None else _count(fields[windows], path, number)
        if label in sums:
            sums[label].total += count * embedding
            sums[label].windows += count
            sums[label].rows += 1
        else:
            sums[label] = _Sum(count * embedding, count)
    if not sums:
        raise InputError(f"{path}: expected rows with embeddings, found {missing} rows, all without a value")
    return Embeddings(
        tuple(sums),
        np.stack([one.total / one.windows for one in sums.values()]),
        tuple(one.rows for one in sums.values()),
        missing,
        sources.known,
        table.sha256(),
    )


def _places(table: TsvRows) -> list[int]:
    """The columns of the embedding, in its order."""
    found = {int(match[1]): place for place, name in enumerate(table.columns) if (match := _COLUMN.fullmatch(name))}
    count = sum(_COLUMN.fullmatch(name) is not None for name in table.columns)
    if not found or sorted(found) != list(range(count)):
        lacking = [f"embedding_{n:03d}" for n in range(min(count, 10_000)) if n not in found]
        raise InputError(
            f"{table.path}: expected the columns embedding_000, embedding_001, ... without a gap, found {count} of them"
            + (f", without {listed(lacking, most=3)}" if lacking else "")
        )
    return [found[n] for n in range(count)]


def _numbers(values: Sequence[str], path: Path, number: int) -> Float64[np.ndarray, " channels"]:
    try:
        embedding = np.array(values, np.float64)
        if np.isfinite(embedding).all():
            return embedding
    except ValueError:
        pass
    wrong = next(value for value in values if not _finite(value))
    raise InputError(f"{path}: line {number}: expected finite numbers or n/a as embedding, found {shown(wrong)}")


def _count(value: str, path: Path, number: int) -> int:
    """The windows that a row stands for; one if it does not say."""
    if value in MISSING:
        return 1
    if not re.fullmatch("[0-9]{1,7}", value) or not int(value):
        raise InputError(f"{path}: line {number}: expected a number of windows, found {shown(value)}")
    return int(value)


def _finite(value: str) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False


def _sidecar(path: Path) -> Mapping[str, Any]:
    beside = sidecar_of(path)
    if not beside.exists():
        return {}
    try:
        return read_sidecar(beside)
    except ValueError as error:
        raise InputError(f"{beside}: expected the sidecar of {path.name}, a JSON object: {shown(error)}") from None


def _stated(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """What a sidecar states about models, at any place in it and in any of the usual spellings."""
    if isinstance(value, dict):
        known = {re.sub("[^a-z0-9]", "", str(key).lower()): entry for key, entry in value.items()}
        if "weightssha256" in known:  # the description of an artifact; a digest beside it is the artifact's
            known.setdefault("artifactsha256", known.get("sha256"))
        if isinstance(digests := known.get("sha256"), dict):
            known |= {f"{str(name).lower()}sha256": digest for name, digest in digests.items()}
        for name in _SOURCES:
            found = known.get(name.replace("_", ""))
            if isinstance(found, str):
                yield name, found
    if depth < 4 and isinstance(value, (dict, list)):
        for entry in list(value.values() if isinstance(value, dict) else value)[:10_000]:
            yield from _stated(entry, depth + 1)
