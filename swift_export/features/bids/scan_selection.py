"""Which scans of a data set are wanted: labels, spaces, and filter files as PyBIDS and fMRIPrep read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift_export.errors import UsageError
from swift_export.features.bids.dataset_index import BidsName
from swift_export.features.bids.entities import label_of, number_or_text
from swift_export.system.plain_data import SchemaError, loads
from swift_export.system.text import listed, shown

__all__ = ["SPACES", "Selection", "selection_of"]

#: Spaces that fit the model's grid, the preferred one first: it is the space of the HCP's and UK Biobank's data.
SPACES = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")

#: Entities that options select, and these options.
_OPTIONS = {"sub": "--participant-label", "ses": "--session-label", "task": "--task-id", "run": "--run-id"}

#: PyBIDS' and fMRIPrep's names of entities, which filter files use.
_LONG_NAMES = {
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

#: Entities whose labels are numbers: 1 is 01. Elsewhere, these are different labels.
_NUMBERS = {"run", "echo"}

#: A filter: the labels that are accepted. None among them accepts the absence of the entity, ``*`` any label.
_Filters = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Selection:
    """Which scans are wanted; by default, all.

    Attributes:
        labels: accepted labels by entity (``sub``, ``ses``, ``task``, ``run``), without their keys.
        spaces: accepted spaces, the preferred one first: of a run in several of them, the first is taken.
        filters: the entry ``bold`` of a filter file, by entity.
        derivatives: folders of preprocessed data to search instead of those in the data set.

    """

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spaces: Sequence[str] = SPACES
    filters: _Filters = field(default_factory=dict)
    derivatives: Sequence[Path] = ()

    def accepts(self, name: BidsName) -> bool:
        """Whether labels and filters accept a scan; which of its spaces is taken is decided later."""
        found = dict(name.entities) | {"suffix": name.suffix, "extension": name.extension, "datatype": "func"}
        chosen = (*self.labels.items(), *self.filters.items())
        return all(_accepted(key, found.get(key), labels) for key, labels in chosen)


def selection_of(
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    runs: Sequence[str] = (),
    space: str | None = None,
    filter_file: Path | None = None,
    derivatives: Sequence[str | Path] = (),
) -> Selection:
    """The selection that options give; labels with or without their key (``sub-01`` or ``01``).

    ``derivatives`` may be written ``NAME=PATH``, as in other BIDS Apps. Raises UsageError for a label that BIDS does
    not allow, and for a filter file that cannot be read or that filters by something unknown.
    """
    given = {"sub": participants, "ses": sessions, "task": tasks, "run": runs}
    labels = {key: tuple(_label(text, key) for text in texts) for key, texts in given.items() if texts}
    spaces = SPACES if space is None else (_label(space, "space", "--space"),)
    filters = {} if filter_file is None else _read_filters(filter_file)
    return Selection(labels, spaces, filters, tuple(_folder(path) for path in derivatives))


def _label(text: str, key: str, option: str | None = None) -> str:
    label = label_of(text, key)
    if label is None:
        raise UsageError(
            f"{option or _OPTIONS[key]} {shown(text)}: expected a BIDS label, of letters and digits; correct it"
        )
    return label


def _folder(path: str | Path) -> Path:
    text = str(path)
    name, equals, rest = text.partition("=")
    return Path(rest if equals and name.isidentifier() and not Path(text).exists() else text)


def _read_filters(path: Path) -> dict[str, tuple[str | None, ...]]:
    def refuse(found: str) -> UsageError:
        return UsageError(
            f'{path}: expected a filter file such as {{"bold": {{"task": "rest"}}}}, found {found}; correct it'
        )

    try:
        content = loads(path.read_bytes()) if path.is_file() else None
    except (OSError, SchemaError) as error:
        raise refuse(shown(error, 200)) from None
    if content is None:
        raise refuse("no such file")
    if not isinstance(content, dict) or not isinstance(bold := content.get("bold", {}), dict):
        raise refuse(f"{shown(content, 60)}")
    if "bold" not in content:
        raise refuse(f"no entry bold among {listed([shown(key) for key in content])}")
    filters = {}
    for key, value in bold.items():
        entity = _LONG_NAMES.get(key, key)
        if entity not in {*_LONG_NAMES.values(), "suffix", "extension", "datatype"}:
            raise refuse(f"the entity {shown(key)}, which is not known here")
        values = value if isinstance(value, list) else [value]
        filters[entity] = tuple(_accepted_value(value, refuse) for value in values)
    return filters


def _accepted_value(value: Any, refuse: Callable[[str], UsageError]) -> str | None:
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return None if value is None else str(value)
    raise refuse(f"the value {shown(value)}")


def _accepted(key: str, found: str | None, labels: Sequence[str | None]) -> bool:
    if found is None:
        return None in labels
    if "*" in labels:
        return True
    if key in _NUMBERS:
        return number_or_text(found) in {number_or_text(label) for label in labels if label is not None}
    return found in labels
