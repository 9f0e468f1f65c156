"""Names of BIDS files: ``sub-01_task-rest_desc-preproc_bold.nii.gz`` is entities, a suffix and an extension.

Names of a data set are read by bids2table (dataset_index.py); lists of files and results of our own do not need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["entities_of", "is_bids_name", "joined", "label_of", "number_or_text"]

#: BIDS allows letters, digits and, since 1.10, plus signs in labels: none of them can leave a folder.
_NAME = re.compile(r"(?:[a-z][a-z0-9]*-[A-Za-z0-9+]+_)+[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+")
_LABEL = re.compile(r"[A-Za-z0-9+]{1,64}")
#: Longest name that Linux and macOS store.
_LONGEST = 255


def is_bids_name(name: str) -> bool:
    """Whether a file's name is as BIDS allows it: each entity once, its label of letters and digits."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        return False
    pairs = name.split("_")[:-1]
    return len({pair.partition("-")[0] for pair in pairs}) == len(pairs)


def entities_of(name: str) -> dict[str, str] | None:
    """The entities of a file's name, in its order; None if it is not a BIDS name."""
    if not is_bids_name(name):
        return None
    return dict(pair.split("-") for pair in name.split("_")[:-1])


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
