"""Names of BIDS files: ``sub-01_task-rest_desc-preproc_bold.nii.gz`` is entities, a suffix and an extension."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LONG_NAMES", "BidsName", "joined", "label_of", "number_or_text", "parse_name"]

#: BIDS allows letters, digits and, since 1.10, plus signs in labels: none of them can leave a folder.
_PAIR = re.compile(r"([a-z][a-z0-9]*)-([A-Za-z0-9+]+)")
_SUFFIX = re.compile(r"[A-Za-z0-9]+")
_LABEL = re.compile(r"[A-Za-z0-9+]{1,64}")
#: Longest name that Linux and macOS store.
_LONGEST = 255

#: PyBIDS' and fMRIPrep's names of entities, which filter files use.
LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "task": "task",
    "tracksys": "tracksys",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "part": "part",
    "space": "space",
    "resolution": "res",
    "res": "res",
    "density": "den",
    "description": "desc",
    "desc": "desc",
}


@dataclass(frozen=True)
class BidsName:
    """The parts of a name; ``entities`` keep their order, and ``extension`` begins at the first dot."""

    entities: Mapping[str, str]
    suffix: str
    extension: str


def parse_name(name: str) -> BidsName | None:
    """The parts of a file's name; None if it is not a BIDS name."""
    if len(name) > _LONGEST:
        return None
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    found = [_PAIR.fullmatch(pair) for pair in pairs]
    entities = {match[1]: match[2] for match in found if match}
    if not dot or not pairs or len(entities) != len(pairs) or not _SUFFIX.fullmatch(suffix):
        return None
    return BidsName(entities, suffix, "." + extension)


def joined(entities: Mapping[str, str]) -> str:
    """Entities as in a name, ``sub-01_task-rest``."""
    return "_".join(f"{key}-{value}" for key, value in entities.items())


def label_of(text: str, key: str) -> str | None:
    """A label, written with or without its key (``sub-01`` or ``01``); None if BIDS does not allow it."""
    label = text.removeprefix(f"{key}-")
    return label if _LABEL.fullmatch(label) else None


def number_or_text(label: str) -> int | str:
    """A label for comparison: ``1`` and ``01`` are the same run."""
    return int(label) if label.isascii() and label.isdigit() else label
