"""Reading the JSON that lies beside a scan or beside clips, within bounds that a hostile file cannot move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_sidecar", "stem"]

#: BIDS sidecars have some kB, those of clips some 10 more for a thousand windows.
_MAX_BYTES = 4 * 2**20


def read_sidecar(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; raises ValueError, with the reason, for anything else."""
    try:
        if not path.is_file():
            raise ValueError("it is no plain file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        content = json.loads(data)
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def stem(name: str) -> str:
    """A scan's name without ``.nii`` or ``.nii.gz``, in whatever case: what its sidecar and its clips are called."""
    for suffix in (".gz", ".nii"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name
