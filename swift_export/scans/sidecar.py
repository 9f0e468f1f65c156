"""Reads the JSON beside a scan or beside clips, within limits that a hostile file cannot exceed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift_export.errors import UsageError

__all__ = ["keep_others_sidecar", "read_sidecar", "stem"]

#: BIDS sidecars have a few kB; those of clips have about 10 kB more for a thousand windows.
_MAX_BYTES = 4 * 2**20


def read_sidecar(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises ValueError with the reason for anything else."""
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        content = json.loads(data)
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def stem(name: str) -> str:
    """The name of a scan without ``.nii`` or ``.nii.gz`` in any case, which its sidecar and clips share."""
    for suffix in (".gz", ".nii"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def keep_others_sidecar(path: Path) -> None:
    """Raise UsageError if a foreign file has the name of the sidecar, such as the BIDS sidecar of the scan."""
    if not path.exists():
        return
    try:
        ours = "swift-export" in read_sidecar(path)["versions"]
    except (ValueError, TypeError, KeyError):
        ours = False
    if not ours:
        raise UsageError(
            f"{path}: the new sidecar would replace this file, which swift-export did not write (perhaps the "
            "BIDS sidecar of the scan); give the output another name or folder"
        )
