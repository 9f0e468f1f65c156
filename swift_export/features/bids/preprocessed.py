"""Where fMRIPrep's output lies: in the folder given, or among the derivatives of a raw data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swift_export.errors import InputError, UsageError
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.text import listed, shown

__all__ = ["DESCRIPTION", "names_in", "preprocessed_folders", "read_description"]

DESCRIPTION = "dataset_description.json"


def preprocessed_folders(bids_dir: Path, derivatives: Sequence[Path] = ()) -> list[Path]:
    """The folders of preprocessed data: ``derivatives`` if given, else those of ``bids_dir``, which may be one itself.

    Raises UsageError if there is none, or a choice.
    """
    for folder in (bids_dir, *derivatives):
        if not folder.is_dir():
            found = "found a file" if folder.exists() else "found none"
            raise UsageError(f"{folder}: expected a folder of a BIDS data set, {found}; correct the path")
    if derivatives:
        return list(dict.fromkeys(derivatives))
    if read_description(bids_dir).get("DatasetType") == "derivative":
        return [bids_dir]
    inside = bids_dir / "derivatives"
    candidates = [name for name in names_in(inside) if name.startswith("fmriprep")] if inside.is_dir() else []
    candidates = [name for name in candidates if (inside / name).is_dir()]
    if "fmriprep" in candidates or len(candidates) == 1:
        return [inside / ("fmriprep" if "fmriprep" in candidates else candidates[0])]
    if candidates:
        raise UsageError(
            f"{inside}: expected one folder of fMRIPrep, found {listed(map(shown, candidates))}; choose with "
            "--derivatives"
        )
    return [bids_dir]


def read_description(folder: Path) -> dict[str, Any]:
    """What a data set says of itself; empty if it says nothing readable."""
    try:
        return read_sidecar(folder / DESCRIPTION)
    except ValueError:
        return {}


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; raises InputError if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(
            f"{folder}: expected a readable folder, found: {error.strerror}; check its permissions"
        ) from None
