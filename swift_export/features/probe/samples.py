"""Joins embeddings with the targets of their participants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int

from swift_export.errors import InputError, UsageError
from swift_export.features.probe.embeddings import Embeddings
from swift_export.features.probe.tsv_rows import MISSING, PARTICIPANT, TsvRows, participant
from swift_export.formats.probe_file import MAX_OUTPUTS, PROBE_KINDS
from swift_export.system.text import listed, shown

__all__ = ["Samples", "join", "read_labels"]

#: Numbers with more different values than this are quantities, not classes.
_MOST_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Samples:
    """Participants with embedding and target.

    ``targets`` are numbers of classes, or values. ``classes`` are the names of the classes, empty for a regression.
    ``counts`` tell how many participants were left out, and why.
    """

    kind: str
    target: str
    embeddings: Float64[np.ndarray, "participants channels"]
    targets: Int[np.ndarray, " participants"] | Float64[np.ndarray, " participants"]
    classes: tuple[str, ...]
    participants: tuple[str, ...]
    counts: Mapping[str, int]

    @property
    def sizes(self) -> dict[str, int]:
        """Participants by class."""
        return {name: int((self.targets == number).sum()) for number, name in enumerate(self.classes)}


def read_labels(path: Path, target: str) -> dict[str, str]:
    """The text of the target by participant, without missing ones' values: they are ``n/a``.

    Raises InputError for a table without the column, and for a participant with two targets.
    """
    table = TsvRows.open(path)
    if target not in table.columns or target == PARTICIPANT:
        others = listed((shown(name, 40) for name in table.columns if name != PARTICIPANT), most=8)
        raise InputError(f"--target {shown(target)}: expected a column of {path} ({others})")
    who, what = table.columns.index(PARTICIPANT), table.columns.index(target)
    labels: dict[str, str] = {}
    for number, fields in table.rows():
        label, value = participant(fields[who]), fields[what].strip()
        value = "n/a" if value in MISSING else value
        if labels.setdefault(label, value) != value:
            raise InputError(
                f"{path}: line {number}: expected one {shown(target)} per participant, found "
                f"{shown(labels[label], 40)} and {shown(value, 40)} for {shown(fields[who], 40)}"
            )
    return labels


def join(embeddings: Embeddings, labels: Mapping[str, str], target: str, kind: str | None, where: str) -> Samples:
    """The samples of a probe; ``where`` names the tables in messages.

    Without ``kind``, targets that are all numbers are a regression if they have more than ten different values, or
    fractions; others are classes. Raises InputError for tables without common participants, one class or a constant
    target, UsageError for a regression of text.
    """
    if kind not in (None, *PROBE_KINDS):
        raise UsageError(f"--kind {shown(kind)}: expected one of {', '.join(PROBE_KINDS)}")
    common = [n for n, who in enumerate(embeddings.participants) if who in labels]
    if not common:
        raise InputError(
            f"{where}: expected common participants, found none: {_some(embeddings.participants)} and "
            f"{_some(list(labels))}"
        )
    kept = [n for n in common if labels[embeddings.participants[n]] != "n/a"]
    if not kept:
        raise InputError(f"{where}: expected participants with {shown(target)}, found {len(common)}, all n/a")
    values = [labels[embeddings.participants[n]] for n in kept]
    numbers = _numbers(values)
    kind = kind or _kind(numbers)
    if kind == "regression":
        targets, classes = _quantities(values, numbers, target, where)
    else:
        targets, classes = _classes(values, numbers, target, where)
    return Samples(
        kind=kind,
        target=target,
        embeddings=embeddings.means[kept],
        targets=targets,
        classes=classes,
        participants=tuple(embeddings.participants[n] for n in kept),
        counts={
            "participants": len(kept),
            "rows": sum(embeddings.rows[n] for n in kept),
            "rows_without_embedding": embeddings.missing,
            "without_target": len(common) - len(kept),
            "without_label": len(embeddings.participants) - len(common),
            "without_embedding": len(labels) - len(common),
        },
    )


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers; None if one is none."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _kind(numbers: Sequence[float] | None) -> str:
    if numbers is None:
        return "classification"
    several = len(set(numbers)) > _MOST_CLASSES
    return "regression" if several or not all(number.is_integer() for number in numbers) else "classification"


def _quantities(
    values: Sequence[str], numbers: Sequence[float] | None, target: str, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    if numbers is None:
        wrong = next(value for value in values if _numbers([value]) is None)
        raise UsageError(f"--kind regression: expected numbers in {shown(target)}, found {shown(wrong)}")
    if min(numbers) == max(numbers):
        raise InputError(f"{where}: expected different values of {shown(target)}, found only {numbers[0]:g}")
    return np.array(numbers, np.float64), ()


def _classes(
    values: Sequence[str], numbers: Sequence[float] | None, target: str, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    # 1 and 1.0 are one class.
    names = list(values) if numbers is None else [f"{number:.12g}" for number in numbers]
    classes = sorted(set(names)) if numbers is None else sorted(set(names), key=float)
    if len(classes) < 2:
        raise InputError(
            f"{where}: expected two or more classes of {shown(target)}, found only {shown(classes[0], 60)}"
        )
    if len(classes) > MAX_OUTPUTS or max(Counter(names).values()) < 2:
        raise InputError(
            f"{where}: expected several participants per class of {shown(target)}, found {len(classes)} classes of "
            f"{len(names)} participants"
        )
    number_of = {name: number for number, name in enumerate(classes)}
    return np.array([number_of[name] for name in names]), tuple(classes)


def _some(labels: Sequence[str]) -> str:
    return listed((shown(label, 30) for label in labels), most=3) or "nobody"
